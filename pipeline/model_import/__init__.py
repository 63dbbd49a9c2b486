"""Import of models from elsewhere: inspected before they are loaded, then registered."""
