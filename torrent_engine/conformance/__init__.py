"""A conformance kit: plays peers against a BitTorrent program, and judges it rule by rule.

The kit shares no protocol code with the engine: its messages, its bencoding and what it compares
with are its own, so that a mistake of the engine cannot hide behind the same mistake of the kit.
"""
