"""How requests are read: from the states of their tokens to the attributes that they want and avoid."""
