"""Running tasks against what their runner manager says."""
