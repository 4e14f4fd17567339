"""The single writer: it takes messages, decides, and changes the index and the library."""
