"""Pictures: overlays, contact sheets and plots, drawn off screen; no display and no global plotting state."""
