/* Asks before something that cannot be undone. The safe answer has the focus. */
import Button from "@mui/material/Button";
import Dialog from "@mui/material/Dialog";
import DialogActions from "@mui/material/DialogActions";
import DialogContent from "@mui/material/DialogContent";
import DialogTitle from "@mui/material/DialogTitle";
import { useWords } from "../i18n";

interface Props {
  open: boolean;
  title: string;
  text: string;
  yes: string;
  onYes: () => void;
  onNo: () => void;
}

export function Confirm({ open, title, text, yes, onYes, onNo }: Props) {
  const { t } = useWords();
  return (
    <Dialog open={open} onClose={onNo} aria-labelledby="confirm-title" aria-describedby="confirm-text" maxWidth="xs">
      <DialogTitle id="confirm-title">{title}</DialogTitle>
      <DialogContent id="confirm-text">{text}</DialogContent>
      <DialogActions>
        <Button onClick={onNo} autoFocus>{t.actions.keep}</Button>
        <Button variant="contained" color="error" onClick={onYes}>{yes}</Button>
      </DialogActions>
    </Dialog>
  );
}
