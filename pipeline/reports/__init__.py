"""Public reports: their inbox, what people do with them, and the regression cases that they become."""
