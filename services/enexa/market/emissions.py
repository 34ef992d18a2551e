"""What the grid's electricity is charged with in carbon dioxide."""

CO2_KG_PER_KWH = 0.363
"""Germany's electricity mix of 2024, a mean of the year (Umweltbundesamt); hourly intensities are not held here."""
