"""Who may speak to the platform: clients of the credentials file, registered controllers, and invited ones."""

from collections.abc import Iterable

from services.enexa.inbox import Inbox
from services.enexa.registry.assets import ControllerRecord, Key
from shared.contract.operations import Scope
from shared.contract.registry import OnboardingState
from shared.errors import Unauthenticated
from shared.moment import Moment
from shared.rest.auth import Credential, Principal, TokenBook


class PlatformTokens(TokenBook):
    """A token book that also knows one-time enrolment tokens, and the keys that registration issued."""

    def __init__(self, credentials: Iterable[Credential], inbox: Inbox) -> None:
        super().__init__(credentials)
        self._inbox = inbox
        self._admitted: dict[str, ControllerRecord] = {}

    def principal(self, bearer: str, now: Moment) -> Principal:
        try:
            return super().principal(bearer, now)
        except Unauthenticated:
            invitation = self._inbox.invitation(bearer, now.at)
            if invitation is None:
                raise
            return Principal(client_id="invited", scope=Scope.ENROLMENT, sites=frozenset({invitation.site_id}))

    def relist(self, credentials: Iterable[Credential]) -> None:
        super().relist(credentials)
        for controller in self._admitted.values():
            self.admit(controller)

    def admit(self, controller: ControllerRecord) -> None:
        """Let a controller log in with the keys it has, or shut it out where it is suspended."""
        self._admitted[controller.id] = controller
        if controller.state is OnboardingState.SUSPENDED:
            self.revoke(controller.id)
        elif controller.key_sha256 is not None:
            keys = (Key(sha256=controller.key_sha256), *controller.retired_keys)
            self.put(controller.id, tuple(_credential(controller, each) for each in keys))
        elif controller.id in self._listed:
            self.put(controller.id, self._listed[controller.id])


def _credential(controller: ControllerRecord, key: Key) -> Credential:
    return Credential(
        client_id=controller.id,
        secret_sha256=key.sha256,
        scope=Scope.MIDDLEWARE,
        sites=(controller.site_id,),
        until=key.until,
    )
