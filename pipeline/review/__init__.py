"""People decide about labels: queues of suspicious pictures, a page to decide on, and the way into data/."""
