"""All rules that exist, in order, and the choice of some of them."""

from collections.abc import Collection, Sequence
from typing import Final

from torrent_engine.conformance.errors import ConformanceError
from torrent_engine.conformance.plan import GROUPS
from torrent_engine.conformance.rule import REGISTRY, ConformanceRule
from torrent_engine.conformance.rules import (
    bep3_bitfield,
    bep3_disk,
    bep3_files,
    bep3_framing,
    bep3_handshake,
    bep3_interest,
    bep3_leech,
    bep3_picking,
    bep3_requests,
    bep3_tracker_http,
    bep3_trackers,
    bep5_dht,
    bep5_dht_abuse,
    bep5_dht_own,
    bep5_ports,
    bep6_allowed_fast,
    bep6_fast,
    bep6_leech,
    bep9_magnet,
    bep9_metadata,
    bep10_extended,
    bep10_leech,
    bep11_leech,
    bep11_pex,
    bep12_tiers,
    bep14_lsd,
    bep15_udp_trackers,
    bep19_web_seeds,
    bep21_partial,
    bep27_dht,
    bep27_magnet,
    bep29_utp,
    bep29_utp_transfers,
    bep32_dht_families,
    bep33_dht_scrapes,
    bep42_dht_ids,
    bep44_dht_items,
    bep47_attributes,
    bep51_dht_samples,
    bep52_dht,
    bep52_downloads,
    bep52_hashes,
    bep52_seed,
    bep52_v2_seed,
    bep54_leech,
    bep54_seed,
    bep55_holepunch,
    mse_downloads,
    mse_encryption,
    trackers_http,
    trackers_ipv6,
    trackers_udp,
    utp_downloads,
)
from torrent_engine.conformance.verdicts import Level, Role

MODULES: Final = (
    bep3_handshake,
    bep3_framing,
    bep3_bitfield,
    bep3_requests,
    bep3_interest,
    bep3_leech,
    bep3_picking,
    bep3_files,
    bep3_disk,
    bep6_fast,
    bep6_allowed_fast,
    bep6_leech,
    bep10_extended,
    bep10_leech,
    bep9_metadata,
    bep11_pex,
    bep9_magnet,
    bep3_trackers,
    bep3_tracker_http,
    bep12_tiers,
    bep14_lsd,
    bep15_udp_trackers,
    trackers_ipv6,
    bep5_dht,
    bep5_dht_abuse,
    bep5_dht_own,
    bep5_ports,
    bep32_dht_families,
    bep33_dht_scrapes,
    bep42_dht_ids,
    bep44_dht_items,
    bep51_dht_samples,
    bep27_dht,
    bep27_magnet,
    bep14_lsd,
    mse_encryption,
    mse_downloads,
    utp_downloads,
    bep19_web_seeds,
    bep29_utp,
    bep29_utp_transfers,
    bep54_seed,
    bep55_holepunch,
    bep54_leech,
    bep11_leech,
    trackers_http,
    trackers_udp,
    bep47_attributes,
    bep52_dht,
    bep52_downloads,
    bep52_hashes,
    bep52_seed,
    bep52_v2_seed,
    bep21_partial,
)
"""Importing them fills the registry."""
_ORDER: Final = {group: number for number, group in enumerate(GROUPS)}


def all_rules() -> list[ConformanceRule]:
    """Return every rule, by group and number."""
    return sorted(REGISTRY.values(), key=lambda each: (_ORDER[each.group], each.rule_id))


def choose(
    prefixes: Sequence[str] = (),
    *,
    levels: Collection[Level] = (),
    role: Role | None = None,
) -> list[ConformanceRule]:
    """Return the rules whose id begins with one of ``prefixes``; with none, all.

    Raises ConformanceError for a prefix that no rule has.
    """
    known = all_rules()
    for prefix in prefixes:
        if not any(each.rule_id.startswith(prefix.upper()) for each in known):
            raise ConformanceError(f"no rule begins with {prefix}")
    wanted = tuple(prefix.upper() for prefix in prefixes) or ("",)
    return [
        each
        for each in known
        if each.rule_id.startswith(wanted)
        and (not levels or each.level in levels)
        and (role is None or each.role is role)
    ]
