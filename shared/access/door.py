"""Stand at a service's ports: who comes in, to what, and how often, as its settings say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc

from freshet.errors import PUSH_BACK_METADATA, Overloaded
from freshet.settings import BadSetting
from shared.access.quotas import Quotas
from shared.access.settings import DoorSettings
from shared.access.tls import ServerTls
from shared.access.tokens import NotLetIn, Scope, Token, Tokens
from shared.runtime import metrics

if TYPE_CHECKING:
    from typing import TypeAlias

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Find: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

# Of whoever looks whether we live: no token, no quota. To watch it keeps a call open for ever, and
# strangers would hold all that there may be.
PROBE: Final = "/grpc.health.v1.Health/Check"


class Need(NamedTuple):
    """What a method asks of its caller's token."""

    scope: Scope
    # What a request asks for besides: its name and scope, None for nothing.
    besides: Callable[[Any], tuple[str, Scope] | None] = lambda request: None


class Door:
    """Holds what the settings ask of callers; where they ask nothing, everybody is let in."""

    def __init__(self, settings: DoorSettings) -> None:
        """Raises BadSetting where others would be let in by accident, and for unusable files."""
        certificate = settings.certificate
        if not (settings.loopback or certificate or settings.insecure):
            raise BadSetting(
                f"FRESHET_BIND={settings.bind} lets other machines in without TLS: set"
                " FRESHET_TLS_CERT_FILE and FRESHET_TLS_KEY_FILE, or FRESHET_INSECURE=1 where the"
                " network keeps strangers out"
            )
        if settings.client_ca_file and not certificate:
            raise BadSetting(
                "FRESHET_TLS_CLIENT_CA_FILE needs FRESHET_TLS_CERT_FILE and FRESHET_TLS_KEY_FILE"
            )
        self.settings = settings
        try:
            self.tls = ServerTls(certificate, settings.client_ca_file) if certificate else None
            self.tokens = Tokens(settings.tokens_file) if settings.tokens_file else None
        except (OSError, ValueError) as error:
            raise BadSetting(f"FRESHET_TLS_CERT_FILE, FRESHET_TLS_KEY_FILE: {error}") from None
        guarded = self.tls is not None or self.tokens is not None
        per_s = settings.caller_calls_per_s
        self.quotas = Quotas(per_s) if guarded and per_s else None

    @property
    def reflects(self) -> bool:
        """Say whether gRPC tells strangers which methods there are."""
        wish = self.settings.reflection
        return self.settings.loopback if wish == "loopback" else wish == "on"

    def guards(self, needs: Mapping[str, Need]) -> list[grpc.aio.ServerInterceptor]:
        """Return what looks at each gRPC call before its method does.

        needs: by the method's whole name; what is not named there needs `operate`.
        """
        if self.tokens is None and self.quotas is None:
            return []
        return [_Doorkeeper(self.tokens, self.quotas, needs)]


class _Doorkeeper(grpc.aio.ServerInterceptor):
    """Lets a call in, or ends it with a status before anything is done for it."""

    def __init__(
        self, tokens: Tokens | None, quotas: Quotas | None, needs: Mapping[str, Need]
    ) -> None:
        self._tokens = tokens
        self._quotas = quotas
        self._needs = needs

    async def intercept_service(
        self, find: Find, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await find(details)
        if handler is None or details.method == PROBE:
            return handler
        need = self._needs.get(details.method, Need(Scope.OPERATE))
        name = details.method.rpartition("/")[2]
        token, authorization = None, _authorization(details)
        if self._tokens is not None:
            try:
                token = self._tokens.holder(authorization, name, need.scope)
            except NotLetIn as refusal:
                # A stream, whatever the method is: no message is read of who may not send one.
                return grpc.stream_stream_rpc_method_handler(partial(_refuse, name, refusal))
        method: Any = handler.unary_unary
        if method is None:  # reflection
            return handler

        async def answer(request: Any, context: Context) -> Any:
            await self._admit(name, need, request, context, token)
            return await method(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _admit(
        self, name: str, need: Need, request: Any, context: Context, token: Token | None
    ) -> None:
        """End a call that its request or its caller's quota forbids."""
        besides = need.besides(request)
        if token is not None and besides is not None:
            asked, scope = besides
            try:
                token.check(f"{name} with {asked}", scope)
            except NotLetIn as refusal:
                await _refuse(name, refusal, None, context)
        if self._quotas is not None:
            try:
                self._quotas.take(token.name if token else _host(context.peer()))
            except Overloaded as error:
                metrics.OVER_QUOTA.labels(token.name if token else "an address").inc()
                push_back = (PUSH_BACK_METADATA, str(round(error.retry_after * 1000)))
                await _end(name, context, grpc.StatusCode.RESOURCE_EXHAUSTED, error, push_back)


async def _refuse(name: str, refusal: NotLetIn, _requests: object, context: Context) -> None:
    code = grpc.StatusCode.PERMISSION_DENIED if refusal.known else grpc.StatusCode.UNAUTHENTICATED
    await _end(name, context, code, refusal)


async def _end(
    name: str, context: Context, code: grpc.StatusCode, why: Exception, *trailing: tuple[str, str]
) -> None:
    metrics.REQUESTS.labels(name, code.name).inc()
    await context.abort(code, str(why), trailing)


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    for name, value in details.invocation_metadata or ():
        if name == "authorization":
            return value if isinstance(value, str) else None
    return None


def _host(peer: str) -> str:
    """Return who called without the port of the connection, such as `ipv4:10.0.0.7`."""
    return peer.rpartition(":")[0] or peer
