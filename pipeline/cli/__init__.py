"""The `nsfw` command, one module a group of commands."""
