"""Who may speak to the platform: clients of the credentials file, registered controllers, and invited ones."""

from collections.abc import Iterable

from services.enexa.inbox import Inbox
from services.enexa.registry.assets import ControllerRecord
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

    def principal(self, bearer: str, now: Moment) -> Principal:
        try:
            return super().principal(bearer, now)
        except Unauthenticated:
            invitation = self._inbox.invitation(bearer, now.at)
            if invitation is None:
                raise
            return Principal(client_id="invited", scope=Scope.ENROLMENT, sites=frozenset({invitation.site_id}))

    def admit(self, controller: ControllerRecord) -> None:
        """A controller with a key of its own may log in, unless it is suspended."""
        if controller.key_sha256 is None or controller.state is OnboardingState.SUSPENDED:
            return
        self.add(
            Credential(
                client_id=controller.id,
                secret_sha256=controller.key_sha256,
                scope=Scope.MIDDLEWARE,
                sites=(controller.site_id,),
            )
        )
