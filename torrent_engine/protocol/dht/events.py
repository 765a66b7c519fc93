"""Owns what a node of the distributed hash table tells: each a fact, in the order it came."""

from dataclasses import dataclass
from enum import Enum

from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import Bencoded, NodeInfo
