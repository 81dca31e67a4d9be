"""What a person sees: tables, figures, pages and notes."""
