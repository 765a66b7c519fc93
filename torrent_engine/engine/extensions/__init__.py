"""Extensions of the wire protocol: PEX, holepunching, metadata."""
