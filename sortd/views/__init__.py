"""What commands read: plain values with the contract's names, from short snapshots of the index."""
