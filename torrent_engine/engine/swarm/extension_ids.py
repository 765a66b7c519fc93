"""The extensions that we support and their message ids (BEP 10).

Source: BEP 9 (ut_metadata), BEP 11 (ut_pex), BEP 54 (lt_donthave), BEP 55 (ut_holepunch), BEP 27
(none of them may leak peers of a private torrent); libtorrent (upload_only).
"""

from collections.abc import Mapping
from typing import Final

from torrent_engine.base.config import NetworkConfig, SharedConfig
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.extension import DONT_HAVE, UPLOAD_ONLY
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH
from torrent_engine.protocol.wire.metadata import UT_METADATA

_NUMBERS: Final = {UT_PEX: 1, UT_METADATA: 2, UPLOAD_ONLY: 3, UT_HOLEPUNCH: 4, DONT_HAVE: 7}


def local_extensions(config: SharedConfig, *, is_private: bool) -> Mapping[str, int]:
    """Return the extensions to name in a handshake, with their message ids."""
    is_wanted = {
        UT_PEX: config.pex.enabled and not is_private,
        UT_METADATA: config.metadata.serve_private or not is_private,
        UPLOAD_ONLY: True,
        UT_HOLEPUNCH: punches_holes(config.network) and not is_private,
        DONT_HAVE: True,
    }
    return {name: number for name, number in _NUMBERS.items() if is_wanted[name]}


def punches_holes(config: NetworkConfig) -> bool:
    """Return whether holepunching is possible: it needs uTP in both directions."""
    return config.holepunch.enabled and config.utp.incoming and config.utp.outgoing
