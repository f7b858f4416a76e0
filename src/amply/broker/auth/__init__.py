"""Who may do what: keys, policies and the verdict on a request. Knows no HTTP, no signatures and no queues."""
