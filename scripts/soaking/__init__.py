"""The parts of scripts/soak: what runs (loads), on what (gateway), what is looked at meanwhile (watch), what is held against it (verdict)."""
