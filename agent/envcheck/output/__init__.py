"""One file per output format; each turns values into text and knows no command."""
