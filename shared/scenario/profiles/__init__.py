"""Daily curves that scenarios name: prices and PV, one CSV file each."""
