"""Models from elsewhere: inspected before they are loaded, then registered."""
