"""The child processes that extract, train and copy, and what starts and watches them."""
