"""The shell where law meets disk and time: dispatch, group commit, deadlines. Knows no socket and no wire format."""
