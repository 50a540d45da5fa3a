"""The parts of scripts/compare: what is measured (rows), who is measured (servers), how (rounds), and how it is told (tables)."""
