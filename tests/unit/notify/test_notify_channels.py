"""The file of channels: every fault with its key, and no secret in any of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from notify_lab import finding, write_channels

from envtrail.errors import CannotRunError, ConfigError, InputError
from envtrail.model.finding import Level
from envtrail.notify.channels import load_channels, open_channels

URL = "json://127.0.0.1:9/s3cr3t"


def write(tmp_path: Path, *channels: dict[str, object]) -> Path:
    return write_channels(tmp_path / "notify.toml", *channels)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    (channel,) = open_channels(write(tmp_path, {"name": "ops", "url": URL}))
    assert (channel.name, channel.level, channel.language) == ("ops", Level.MEDIUM, "en")
    assert channel.kinds == {"finding", "request", "decision"}
    assert (channel.window_ms, channel.most_per_window) == (600_000, 20)
    assert "s3cr3t" not in repr(channel)


def test_every_fault_is_told_with_its_key_and_a_hint_and_the_sound_channels_are_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"name": "a", "url": URL, "level": "loud", "language": "fr", "kinds": ["gossip"], "colour": "red"},
        {"name": "b", "url": "slak://s3cr3t/x"},
        {"name": "c", "url": URL, "digest_minutes": 0, "most_per_digest": "many", "environments": "prod"},
        {"url": URL},
        {"name": "d e", "url": URL},
        {"name": "f"},
        {"name": "g", "url": URL, "url_file": "x"},
        {"name": "h", "url": 7},
        {"name": "ok", "url": URL},
        {"name": "ok", "url": URL},
        {"name": "i", "url_file": "missing"},
    )
    loaded = load_channels(path)
    assert [channel.name for channel in loaded.channels] == ["ok"]
    assert sorted(fault.key for fault in loaded.faults) == sorted(
        [
            *("a.level", "a.language", "a.kinds", "a.colour", "b.url", "c.digest_minutes", "c.most_per_digest", "c.environments"),
            *("channel[3].name", "d e.name", "f.url", "g.url", "h.url", "channel[9].name", "i.url_file"),
        ]
    )
    assert all(fault.path == str(path) and fault.message and fault.hint for fault in loaded.faults)
    with pytest.raises(ConfigError) as caught:
        open_channels(path)
    assert "`slak`" in str(caught.value)
    assert "s3cr3t" not in f"{loaded!r} {caught.value}"


@pytest.mark.parametrize(
    ("text", "key"), [("", "channel"), ("[channel]\nname='x'", "channel"), ("[[chanel]]\nname='x'", "chanel"), ("a=1", "a")]
)
def test_a_file_without_channels_says_how_one_is_written(tmp_path: Path, text: str, key: str) -> None:
    path = write(tmp_path)
    path.write_text(text)
    assert key in [fault.key for fault in load_channels(path).faults]


def test_no_file_and_no_toml_are_faults_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_channels(tmp_path / "none.toml")
    assert caught.value.hint
    path = write(tmp_path)
    path.write_text("[[channel")
    with pytest.raises(InputError, match="not TOML"):
        load_channels(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
@pytest.mark.parametrize("which", ["notify.toml", "address"])
def test_a_file_of_secrets_that_others_may_use_is_refused(tmp_path: Path, mode: int, which: str) -> None:
    path = write(tmp_path, {"name": "ops", "url_file": "address"})
    address = tmp_path / "address"
    address.write_text(URL + "\n")
    address.chmod(0o600)
    assert [channel.service.shown for channel in open_channels(path)] == ["json://127.0.0.1:9"]
    (tmp_path / which).chmod(mode)
    with pytest.raises((CannotRunError, ConfigError), match="users other than its owner"):
        open_channels(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"name": "ops", "url": URL})
    os.chown(path, 12345, -1)
    with pytest.raises(CannotRunError, match="12345"):
        open_channels(path)


@pytest.mark.parametrize(
    ("keys", "reported", "not_reported"),
    [
        ({"level": "high"}, {"level": Level.CRITICAL}, {"level": Level.MEDIUM}),
        ({"environments": ["prod*"]}, {"prefix": "/opt/conda/envs/prod-ml"}, {"prefix": "/opt/conda/envs/dev"}),
        ({"environments": ["/opt/*"]}, {"prefix": "/opt/conda/envs/x"}, {"prefix": None}),
        ({"detections": ["no-*"]}, {"detection": "no-numpy-2"}, {"detection": "other"}),
        ({"kinds": ["finding"]}, {}, None),
        ({"kinds": ["request"]}, None, {}),
    ],
)
def test_a_channel_is_told_what_it_asks_for(
    tmp_path: Path, keys: dict[str, object], reported: dict[str, object] | None, not_reported: dict[str, object] | None
) -> None:
    (channel,) = open_channels(write(tmp_path, {"name": "ops", "url": URL, **keys}))
    assert reported is None or channel.wants_finding(finding(**reported))
    assert not_reported is None or not channel.wants_finding(finding(**not_reported))
