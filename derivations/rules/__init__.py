"""Rules other than gradient descent on fixed labels: what they change."""
