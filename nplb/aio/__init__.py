"""What asyncio leaves to its users: tasks with names and owners, and cells.

Law: nothing here knows what nplb is for. No module outside this package calls
`asyncio.create_task`.

cell    the latest value of something, and who waits for a change
tasks   tasks, each with an owner that ends it
"""
