"""What moves the bytes. A plane takes whole plans and says what it made of them."""
