"""`nsfw review` as the console starts it; it fails if anything has imported a network by the time it answers."""

import sys

from pipeline.cli import console

if __name__ == "__main__":
    sys.argv = ["nsfw", "review", *sys.argv[1:]]
    from pipeline.cli import review

    announce = review._announce

    def checked(address: str) -> None:
        assert {"tensorflow", "keras", "mlflow"} & set(sys.modules) == set()
        announce(address)

    review._announce = checked
    console.main()
