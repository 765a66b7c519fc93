"""What type each field of a torrent has in JSON, by its name in both dialects.

Source: the specification of the protocol, and what Transmission sends.
"""

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def words(text: str) -> list[str]:
    """Return the words of a text, such as names of fields."""
    return text.split()


def is_int(value: Any) -> bool:
    return type(value) is int


def is_float(value: Any) -> bool:
    """A whole number may be written without a point: JSON has one type for both."""
    return type(value) in {int, float}


def is_bool(value: Any) -> bool:
    return type(value) is bool


def is_str(value: Any) -> bool:
    return type(value) is str


def list_of(check: Check) -> Check:
    return lambda value: type(value) is list and all(map(check, value))


def object_of(**checks: Check) -> Check:
    """Keys are exactly these."""
    return lambda value: (
        type(value) is dict
        and value.keys() == checks.keys()
        and all(check(value[name]) for name, check in checks.items())
    )


def is_zero_or_one(value: Any) -> bool:
    return is_int(value) and value in {0, 1}


FILES_OLD = object_of(
    name=is_str, length=is_int, bytesCompleted=is_int, begin_piece=is_int, end_piece=is_int
)
FILES_NEW = object_of(
    name=is_str, length=is_int, bytes_completed=is_int, begin_piece=is_int, end_piece=is_int
)
TRACKERS = object_of(announce=is_str, scrape=is_str, sitename=is_str, id=is_int, tier=is_int)
WEB_SEEDS = object_of(url=is_str, is_downloading=is_bool, download_bytes_per_second=is_int)

_PEERS = {
    "address": ("address", is_str),
    "bytes_to_client": ("bytes_to_client", is_int),
    "bytes_to_peer": ("bytes_to_peer", is_int),
    "client_is_choked": ("clientIsChoked", is_bool),
    "client_is_interested": ("clientIsInterested", is_bool),
    "client_name": ("clientName", is_str),
    "flag_str": ("flagStr", is_str),
    "is_downloading_from": ("isDownloadingFrom", is_bool),
    "is_encrypted": ("isEncrypted", is_bool),
    "is_incoming": ("isIncoming", is_bool),
    "is_uploading_to": ("isUploadingTo", is_bool),
    "is_utp": ("isUTP", is_bool),
    "peer_id": ("peer_id", is_str),
    "peer_is_choked": ("peerIsChoked", is_bool),
    "peer_is_interested": ("peerIsInterested", is_bool),
    "port": ("port", is_int),
    "progress": ("progress", is_float),
    "rate_to_client": ("rateToClient", is_int),
    "rate_to_peer": ("rateToPeer", is_int),
}
_PEERS_FROM = {
    "from_cache": "fromCache",
    "from_dht": "fromDht",
    "from_incoming": "fromIncoming",
    "from_lpd": "fromLpd",
    "from_ltep": "fromLtep",
    "from_pex": "fromPex",
    "from_tracker": "fromTracker",
}
_TRACKER_STATS = {
    "announce": ("announce", is_str),
    "announce_state": ("announceState", is_int),
    "download_count": ("downloadCount", is_int),
    "downloader_count": ("downloader_count", is_int),
    "has_announced": ("hasAnnounced", is_bool),
    "has_scraped": ("hasScraped", is_bool),
    "host": ("host", is_str),
    "id": ("id", is_int),
    "is_backup": ("isBackup", is_bool),
    "last_announce_peer_count": ("lastAnnouncePeerCount", is_int),
    "last_announce_result": ("lastAnnounceResult", is_str),
    "last_announce_start_time": ("lastAnnounceStartTime", is_int),
    "last_announce_succeeded": ("lastAnnounceSucceeded", is_bool),
    "last_announce_time": ("lastAnnounceTime", is_int),
    "last_announce_timed_out": ("lastAnnounceTimedOut", is_bool),
    "last_scrape_result": ("lastScrapeResult", is_str),
    "last_scrape_start_time": ("lastScrapeStartTime", is_int),
    "last_scrape_succeeded": ("lastScrapeSucceeded", is_bool),
    "last_scrape_time": ("lastScrapeTime", is_int),
    "last_scrape_timed_out": ("lastScrapeTimedOut", is_bool),
    "leecher_count": ("leecherCount", is_int),
    "next_announce_time": ("nextAnnounceTime", is_int),
    "next_scrape_time": ("nextScrapeTime", is_int),
    "scrape": ("scrape", is_str),
    "scrape_state": ("scrapeState", is_int),
    "seeder_count": ("seederCount", is_int),
    "sitename": ("sitename", is_str),
    "tier": ("tier", is_int),
}


def _both(table: Mapping[str, tuple[str, Check]]) -> tuple[Check, Check]:
    """Return the check of the newer dialect and that of the older."""
    newer = object_of(**{name: check for name, (_, check) in table.items()})
    return newer, object_of(**dict(table.values()))


def _same(check: Check) -> tuple[Check, Check]:
    return check, check


def _lists(checks: tuple[Check, Check]) -> tuple[Check, Check]:
    return list_of(checks[0]), list_of(checks[1])


INT, FLOAT, BOOL, STR = _same(is_int), _same(is_float), _same(is_bool), _same(is_str)
INTS, STRS = _same(list_of(is_int)), _same(list_of(is_str))
_FILE_STATS = (
    object_of(bytes_completed=is_int, wanted=is_bool, priority=is_int),
    object_of(bytesCompleted=is_int, wanted=is_bool, priority=is_int),
)
_FROM = (
    object_of(**dict.fromkeys(_PEERS_FROM, is_int)),
    object_of(**dict.fromkeys(_PEERS_FROM.values(), is_int)),
)

TYPES: dict[str, tuple[str, tuple[Check, Check]]] = {
    "activity_date": ("activityDate", INT),
    "added_date": ("addedDate", INT),
    "availability": ("availability", INTS),
    "bandwidth_priority": ("bandwidthPriority", INT),
    "bytes_completed": ("bytesCompleted", INTS),
    "comment": ("comment", STR),
    "corrupt_ever": ("corruptEver", INT),
    "creator": ("creator", STR),
    "date_created": ("dateCreated", INT),
    "desired_available": ("desiredAvailable", INT),
    "done_date": ("doneDate", INT),
    "download_dir": ("downloadDir", STR),
    "download_limit": ("downloadLimit", INT),
    "download_limited": ("downloadLimited", BOOL),
    "downloaded_ever": ("downloadedEver", INT),
    "edit_date": ("editDate", INT),
    "error": ("error", INT),
    "error_string": ("errorString", STR),
    "eta": ("eta", INT),
    "eta_idle": ("etaIdle", INT),
    "file_count": ("file-count", INT),
    "file_stats": ("fileStats", _lists(_FILE_STATS)),
    "files": ("files", (list_of(FILES_NEW), list_of(FILES_OLD))),
    "group": ("group", STR),
    "hash_string": ("hashString", STR),
    "have_unchecked": ("haveUnchecked", INT),
    "have_valid": ("haveValid", INT),
    "honors_session_limits": ("honorsSessionLimits", BOOL),
    "id": ("id", INT),
    "is_finished": ("isFinished", BOOL),
    "is_private": ("isPrivate", BOOL),
    "is_stalled": ("isStalled", BOOL),
    "labels": ("labels", STRS),
    "left_until_done": ("leftUntilDone", INT),
    "magnet_link": ("magnetLink", STR),
    "manual_announce_time": ("manualAnnounceTime", INT),
    "max_connected_peers": ("maxConnectedPeers", INT),
    "metadata_percent_complete": ("metadataPercentComplete", FLOAT),
    "name": ("name", STR),
    "peer_limit": ("peer-limit", INT),
    "peers": ("peers", _lists(_both(_PEERS))),
    "peers_connected": ("peersConnected", INT),
    "peers_from": ("peersFrom", _FROM),
    "peers_getting_from_us": ("peersGettingFromUs", INT),
    "peers_sending_to_us": ("peersSendingToUs", INT),
    "percent_complete": ("percentComplete", FLOAT),
    "percent_done": ("percentDone", FLOAT),
    "piece_count": ("pieceCount", INT),
    "piece_size": ("pieceSize", INT),
    "pieces": ("pieces", STR),
    "primary_mime_type": ("primary-mime-type", STR),
    "priorities": ("priorities", INTS),
    "queue_position": ("queuePosition", INT),
    "rate_download": ("rateDownload", INT),
    "rate_upload": ("rateUpload", INT),
    "recheck_progress": ("recheckProgress", FLOAT),
    "seconds_downloading": ("secondsDownloading", INT),
    "seconds_seeding": ("secondsSeeding", INT),
    "seed_idle_limit": ("seedIdleLimit", INT),
    "seed_idle_mode": ("seedIdleMode", INT),
    "seed_ratio_limit": ("seedRatioLimit", FLOAT),
    "seed_ratio_mode": ("seedRatioMode", INT),
    "sequential_download": ("sequential_download", BOOL),
    "sequential_download_from_piece": ("sequential_download_from_piece", INT),
    "size_when_done": ("sizeWhenDone", INT),
    "source": ("source", STR),
    "start_date": ("startDate", INT),
    "status": ("status", INT),
    "torrent_file": ("torrentFile", STR),
    "total_size": ("totalSize", INT),
    "tracker_list": ("trackerList", STR),
    "tracker_stats": ("trackerStats", _lists(_both(_TRACKER_STATS))),
    "trackers": ("trackers", _same(list_of(TRACKERS))),
    "upload_limit": ("uploadLimit", INT),
    "upload_limited": ("uploadLimited", BOOL),
    "upload_ratio": ("uploadRatio", FLOAT),
    "uploaded_ever": ("uploadedEver", INT),
    "wanted": ("wanted", (list_of(is_bool), list_of(is_zero_or_one))),
    "webseeds": ("webseeds", STRS),
    "webseeds_ex": ("webseeds_ex", _same(list_of(WEB_SEEDS))),
    "webseeds_sending_to_us": ("webseedsSendingToUs", INT),
}
