"""Where the engine keeps its state."""

from torrent_engine.engine.resources.state_folder import default_state_dir

__all__ = ["default_state_dir"]
