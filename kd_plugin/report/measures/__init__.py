"""What is computed for each image of a report, and the columns and tables it makes."""
