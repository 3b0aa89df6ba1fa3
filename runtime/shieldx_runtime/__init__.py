"""What runs in the pods of ShieldX Platform."""
