"""What routes read of a request, and the base of their input."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.security.guard import FACTS, principal_of
from torrent_engine.daemon.security.principals import Principal
from torrent_engine.daemon.security.request_facts import RequestFacts

MAX_FILES: Final = 100_000  # ours: of which something is said at once
FileNumber = Annotated[int, Field(ge=0, le=2**31)]
"""The number of a file of a torrent, which may have more files than are named at once."""


class Input(BaseModel):
    """The body of a request; a key that is not known is an error.

    Validators are made at once: FastAPI silences a warning about their aliases only then.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def seconds_of(when: datetime) -> float:
    """Return a time in seconds since 1970; one without a zone is of UTC."""
    known = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return known.timestamp()


def facts_in(request: Request) -> RequestFacts:
    """Return what the guard found out of a request."""
    facts: Any = request.scope[FACTS]
    assert isinstance(facts, RequestFacts)  # noqa: S101 - the guard put it there
    return facts


def principal_in(request: Request) -> Principal:
    """Return who makes a request. Raises ProblemError in a route that is public."""
    return principal_of(request.scope)


_Model = TypeVar("_Model", bound=Input)


def checked_json(kind: type[_Model], body: bytes) -> _Model:
    """Return the input that a JSON text is. Raises ProblemError."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        found = [
            InputError("/" + "/".join(map(str, each["loc"])), str(each["msg"]))
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        problem = Problem("input_invalid", "the input is not as described", errors=found)
        raise ProblemError(problem) from None
