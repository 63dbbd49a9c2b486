"""The model of the demo page: what is in production; before a first promotion, the challenger."""

from pipeline.params.root import Params
from pipeline.registry import state
from pipeline.service.serve import FixedVersion, LoadedVersion, ProductionVersion
from pipeline.tracking import server

PRODUCTION, CHALLENGER = "production", "challenger"


class ProductionElseChallenger:
    """The version in production, verified; if nothing is in production, the newest version."""

    def __init__(self, params: Params) -> None:
        self.role = ""
        self._params = params
        self._production = ProductionVersion(params)
        self._challenger = FixedVersion(params, params.register_.alias)

    def stamp(self) -> str:
        """Return a text that changes with each promotion or rollback, or before the first with each new version."""
        waiting = self._waiting()
        return self._production.stamp() if waiting is None else f"{CHALLENGER} {waiting}"

    def load(self) -> LoadedVersion:
        """Fetch, check and load it.

        Raises:
            UserError: there is no version, it differs from what was evaluated, or it cannot be loaded.
            Unreachable: the server does not answer.

        """
        chosen, role = (self._production, PRODUCTION) if self._waiting() is None else (self._challenger, CHALLENGER)
        loaded = chosen.load()
        self.role = role
        return loaded

    def _waiting(self) -> int | None:
        """Return the challenger's version if nothing is in production, else None."""

        def read() -> int | None:
            with server.session() as client:
                now = state.read(client, self._params.register_)
            return None if now.production is not None or now.aliased is not None else now.challenger

        return server.run_watched(read)
