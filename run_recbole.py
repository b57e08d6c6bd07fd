from recbole.quick_start import run
import recbole_instructrec
