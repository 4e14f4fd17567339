"""The values that every part of sortd speaks in: plain, frozen, without a clock, a file or a setting."""
