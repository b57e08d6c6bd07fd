"""Tables that can be cited: a plan, its runs, the store of their results, statistics, and the pages made from them."""
