"""Signing in with an OpenID provider: the code flow with PKCE.

References:
    https://openid.net/specs/openid-connect-core-1_0.html
    https://www.rfc-editor.org/rfc/rfc7636 (PKCE), https://www.rfc-editor.org/rfc/rfc9700 (best current practice)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry
from msgspec import Struct

from envtrail.errors import CannotRunError, InputError
from envtrail.model.bounds import UNDECODABLE

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_WAIT_S = 10.0
_FLOW_S = 600.0
_MOST_FLOWS = 1000
_METADATA_S = 3600.0
_LEEWAY_S = 60


class Vouched(Struct, frozen=True, kw_only=True):
    """The provider's claims about a user."""

    name: str
    groups: frozenset[str]


class _Flow(Struct, frozen=True, kw_only=True):
    verifier: str
    nonce: str
    redirect: str
    begun_s: float


class Provider:
    """One issuer.

    Args:
        issuer: Its address, as its tokens name it.
        client_id: Of this page, there.
        secret: Likewise; None: a public client.
        name_claim: Which claim is the name.
        groups_claim: Which is the list of groups; None: none.
        clock: Seconds that only go on.

    Raises:
        CannotRunError: the issuer is reached without TLS, and is not on this machine.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        secret: str | None,
        name_claim: str,
        groups_claim: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _need_tls(issuer)
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._name_claim = name_claim
        self._groups_claim = groups_claim
        self._clock = clock
        self._flows: dict[str, _Flow] = {}
        self._metadata: tuple[float, dict[str, Any]] | None = None

    async def begin(self, redirect: str) -> tuple[str, str]:
        """Address for the browser, and the state that it must return (it is kept in a cookie).

        Raises:
            CannotRunError: the provider does not answer.
        """
        metadata = await self._read_metadata()
        now = self._clock()
        self._flows = {state: flow for state, flow in self._flows.items() if now - flow.begun_s < _FLOW_S}
        if len(self._flows) >= _MOST_FLOWS:
            del self._flows[next(iter(self._flows))]
        state = secrets.token_urlsafe(32)
        flow = _Flow(verifier=secrets.token_urlsafe(48), nonce=secrets.token_urlsafe(32), redirect=redirect, begun_s=now)
        self._flows[state] = flow
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
        parameters = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect,
            "scope": "openid profile" + (" groups" if self._groups_claim else ""),
            "state": state,
            "nonce": flow.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(parameters)}", state

    async def finish(self, *, code: str, state: str, cookie: str) -> Vouched:
        """The user who returned from the provider.

        Raises:
            InputError: it does not answer this browser's request, or the token is invalid.
            CannotRunError: the provider does not answer.
        """
        flow = self._flows.pop(state, None)
        if flow is None or not hmac.compare_digest(state.encode(), cookie.encode()) or self._clock() - flow.begun_s > _FLOW_S:
            raise InputError("this does not answer a request of this browser", hint="start again at /login")
        metadata = await self._read_metadata()
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect,
            "client_id": self._client_id,
            "code_verifier": flow.verifier,
        }
        # RFC 6749 2.3.1: both are encoded before they are put into the header, which httpx does not do.
        auth = httpx.BasicAuth(self._client_id, self._secret) if self._secret else None
        answer = await self._request("POST", str(metadata["token_endpoint"]), data=given, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise InputError("the provider returned no ID token", hint="the scope `openid` must be allowed for this client")
        return self._vouched(await self._claims_of(token, flow.nonce))

    async def _claims_of(self, token: str, nonce: str) -> dict[str, Any]:
        keys = await self._request("GET", str((await self._read_metadata())["jwks_uri"]))
        try:
            decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS)  # type: ignore[arg-type]
            claims = JWTClaimsRegistry(
                leeway=_LEEWAY_S,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._client_id},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            claims.validate(decoded.claims)
        except (JoseError, ValueError, KeyError, TypeError) as fault:
            raise InputError(f"the provider's token is invalid: {fault}", hint="start again at /login") from None
        found: dict[str, Any] = decoded.claims
        audience = found["aud"]
        if found.get("azp", self._client_id) != self._client_id or (
            isinstance(audience, list) and len(audience) > 1 and "azp" not in found
        ):
            raise InputError("the provider's token is for another client", hint="start again at /login")
        return found

    def _vouched(self, claims: dict[str, Any]) -> Vouched:
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name or len(name) > 64 or not name.isprintable():
            raise InputError(f"the provider's token has no name in `{self._name_claim}`", hint="`web.oidc_name_claim`")
        groups = claims.get(self._groups_claim) if self._groups_claim else None
        return Vouched(
            name=name,
            groups=frozenset(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else frozenset(),
        )

    async def _read_metadata(self) -> dict[str, Any]:
        if self._metadata is not None and self._clock() - self._metadata[0] < _METADATA_S:
            return self._metadata[1]
        found = await self._request("GET", self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise CannotRunError(
                f"`{self._issuer}` names itself `{found.get('issuer')}`", hint="`web.oidc_issuer` must be the same"
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _need_tls(str(found.get(name)))
        self._metadata = self._clock(), found
        return found

    async def _request(self, method: str, address: str, **words: Any) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(timeout=_WAIT_S) as client:
                answer = await client.request(method, address, headers={"Accept": "application/json"}, **words)
                answer.raise_for_status()
                return msgspec.json.decode(answer.content, type=dict[str, Any])
        except httpx.HTTPStatusError as fault:
            raise CannotRunError(
                f"`{urlsplit(address).netloc}` answers with status {fault.response.status_code}",
                hint="`web.oidc_client_id`, `web.oidc_client_secret_file`",
            ) from None
        except (httpx.HTTPError, *UNDECODABLE) as fault:
            raise CannotRunError(f"`{urlsplit(address).netloc}` does not answer: {fault}", hint="`web.oidc_issuer`") from None


def _need_tls(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise CannotRunError(f"`{address}` is not an https address", hint="plain http is only for providers on this machine")
