"""The plant as physics: strings, converters, cars, meters and weather, in steps of one second."""
