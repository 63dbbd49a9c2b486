"""Pages for people: one base template, one stylesheet, one content policy; whether written as a file or served."""
