from worker.main import main

if __name__ == "__main__":  # the fork-server looks at this module, too
    main()
