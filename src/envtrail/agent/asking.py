"""A decision from the command line to the trail: over the agent's socket, or straight into a trail that no agent writes."""

from __future__ import annotations

import os
import time

from envtrail.agent.build import open_trail
from envtrail.agent.inbox import myself, person_behind
from envtrail.agent.overseer import Overseer
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config
from envtrail.errors import CannotRunError
from envtrail.host_directory import name_of_uid, uid_of_name
from envtrail.model.decision import Decided, Decision
from envtrail.model.identity import Identity
from envtrail.policy.approvals import Deciding
from envtrail.policy.signatures import ServiceKey
from envtrail.service.authorization import viewer_for
from envtrail.service.client import RemoteStore
from envtrail.service.opening import is_answered, socket_path
from envtrail.state.state import State
from envtrail.trail.layout import Layout


def ask_agent(config: Config, decision: Decision, *, on_behalf: Identity | None = None) -> Decided:
    """Have a decision written down.

    Args:
        config: Where the trail is.
        decision: What is decided.
        on_behalf: Who decides, where the web UI makes the request for somebody; None: whoever runs this process.

    Raises:
        CannotRunError: no agent answers, and this user may not write the trail.
        EnvtrailError: what the policy in force says.
    """
    path = socket_path(config)
    if is_answered(path):
        return RemoteStore(str(path), on_behalf=on_behalf).decide(decision)
    if not Layout(config.data_dir).exists() or not os.access(config.data_dir, os.W_OK):
        raise CannotRunError(f"no agent answers on `{path}`", hint="`envtrail up`, or `systemctl start envtrail-agent`")
    now_ms = int(time.time() * 1000)
    with open_trail(config, world=ImportedWorld()) as opened:
        overseer = Overseer(config, opened.state)
        deciding = make_deciding(config, opened.state)
        opened.pipeline.observe(overseer.look(now_ms), now_ms)
        deciding.policy = overseer.policy
        person = myself()
        if on_behalf is not None:
            viewer = viewer_for(on_behalf, is_separated=config.web.separate_administrators)
            person = person_behind(viewer, os.getpid())
        observations, decided = deciding.decide(decision, person, now_ms)
        opened.pipeline.observe(overseer.muted(observations, now_ms), now_ms)
    return decided


def make_deciding(config: Config, state: State) -> Deciding:
    """What decides, for this trail."""
    return Deciding(
        state,
        node=config.node,
        key=ServiceKey(Layout(config.data_dir).derived, config.node),
        allowed_signers=config.policy.allowed_signers,
        uid_of=uid_of_name,
        owner_of=lambda prefix: name_of_uid(state.owner_uid(prefix)),
    )
