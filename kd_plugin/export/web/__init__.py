"""A page that runs exported generators in a browser, without a network."""
