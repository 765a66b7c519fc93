"""Parts of a Session that its users do not see."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import anyio

from torrent_engine.base.config import DormancyConfig
from torrent_engine.engine.session.dormancy import Dormancy
from torrent_engine.engine.session.session import Session


def removal(session: Session) -> anyio.Event | None:
    """Return what is set at the end of a removal for an owner that has moved on, if one began."""
    ownership = session._lifecycle._ownership
    return None if ownership is None else ownership.removed


def allow_rest(session: Session, config: DormancyConfig | None = None) -> None:
    """Let a Session become dormant as those of a manager do; by default without delay."""
    session._core.rest_config = config or DormancyConfig(after_s=0.0)


@contextmanager
def nobody_is_found() -> Iterator[None]:
    """Let every run that has no work end in dormancy, whoever was found meanwhile."""
    with patch.object(Dormancy, "_has_candidates", lambda _self, _run: False):
        yield
