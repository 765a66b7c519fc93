"""Settings of the engine that take effect at once; rates are those of the background work."""

from torrent_engine.daemon.engine_port.facts import PeerLimits, QueueLimits, SeedRules
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.settings.engine_config import seeding_config
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.store import SettingsChange


def apply_live(port: EnginePort, settings: DaemonSettings, change: SettingsChange) -> None:
    """Pass changed settings to the engine. Raises ClosedError while it is not open."""
    sections = {key.partition(".")[0] for key in change.live}
    if "queue" in sections:
        queue = settings.queue
        limits = QueueLimits(queue.downloads, queue.seeds, queue.active, queue.checks)
        port.engine.set_queue_limits(limits)
    if change.live & {"limits.peers", "limits.peers_per_torrent"}:
        peers = PeerLimits(settings.limits.peers, settings.limits.peers_per_torrent)
        port.engine.set_peer_limits(peers)
    if "network.encryption" in change.live:
        port.engine.set_encryption(settings.network.encryption)
    if "seeding" in sections:
        rules = seeding_config(settings)
        seed_rules = SeedRules(rules.seed_ratio, rules.seed_time_s, rules.seed_idle_s)
        port.engine.set_seed_rules(seed_rules)
