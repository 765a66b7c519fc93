"""The interface that Transmission's remotes speak: both dialects of its RPC protocol."""
