"""The parts of scripts/soak: what runs (loads), on what (gateway), what is looked at meanwhile (watch), and what is held against it (verdict)."""
