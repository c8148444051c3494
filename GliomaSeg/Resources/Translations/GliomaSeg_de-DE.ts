<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de_DE">
 <context>
  <name>GliomaSeg</name>
  <message>
   <source>GliomaSeg</source>
   <translation>GliomaSeg</translation>
  </message>
  <message>
   <source>Segments a glioma on T1, T1 with contrast, T2 and FLAIR, or any of them; measures it; and has you correct, review and export the result. &lt;b&gt;Not a medical device.&lt;/b&gt; For research use; every contour must be reviewed by a clinician.</source>
   <translation>Segmentiert ein Gliom auf T1, T1 mit Kontrastmittel, T2 und FLAIR oder einem Teil davon, misst es und lässt Sie das Ergebnis korrigieren, befunden und exportieren. &lt;b&gt;Kein Medizinprodukt.&lt;/b&gt; Für die Forschung; jede Kontur muss ärztlich geprüft werden.</translation>
  </message>
  <message>
   <source>Documentation</source>
   <translation>Dokumentation</translation>
  </message>
  <message>
   <source>The models that come with GliomaSeg were trained on images of The Cancer Imaging Archive (BraTS 2021, TCGA-LGG, BCBM-RadioGenomics) and use PyTorch and MONAI; brains are extracted by deepbet. Whose other models are, their licences and what to cite: Model, About.</source>
   <translation>Die Modelle, die mit GliomaSeg kommen, wurden auf Bildern des Cancer Imaging Archive trainiert (BraTS 2021, TCGA-LGG, BCBM-RadioGenomics) und nutzen PyTorch und MONAI; das Gehirn extrahiert deepbet. Von wem andere Modelle sind, ihre Lizenzen und was zu zitieren ist: Modell, Über.</translation>
  </message>
  <message>
   <source>Images</source>
   <translation>Bilder</translation>
  </message>
  <message>
   <source>Take from:</source>
   <translation>Quelle:</translation>
  </message>
  <message>
   <source>Volumes that are loaded in Slicer, or a folder of DICOM, NIfTI or NRRD files in which the sequences are looked for.</source>
   <translation>In Slicer geladene Volumen, oder ein Ordner mit DICOM-, NIfTI- oder NRRD-Dateien, in dem die Sequenzen gesucht werden.</translation>
  </message>
  <message>
   <source>Made:</source>
   <translation>Aufgenommen:</translation>
  </message>
  <message>
   <source>Models are made for one time point; you are warned when this is another one. A study after surgery can be compared with an earlier one.</source>
   <translation>Modelle sind für einen Zeitpunkt gemacht; ist dies ein anderer, werden Sie gewarnt. Eine Untersuchung nach der Operation kann mit einer früheren verglichen werden.</translation>
  </message>
  <message>
   <source>days not known</source>
   <translation>Tage unbekannt</translation>
  </message>
  <message>
   <source> days after</source>
   <translation> Tage danach</translation>
  </message>
  <message>
   <source>Days between surgery and this study. Residual tumour and extent of resection are spoken of within three days (72 hours) alone; later, enhancement may be an effect of treatment.</source>
   <translation>Tage zwischen Operation und dieser Untersuchung. Von Resttumor und Resektionsausmaß ist nur innerhalb von drei Tagen (72 Stunden) die Rede; später kann eine Anreicherung Therapiefolge sein.</translation>
  </message>
  <message>
   <source>Case:</source>
   <translation>Fall:</translation>
  </message>
  <message>
   <source>What the case is called in the scene, in the report and in names of files. Of DICOM images the patient's ID and the date of the study, unless you enter something else.</source>
   <translation>Wie der Fall in der Szene, im Bericht und in Dateinamen heißt. Bei DICOM-Bildern Patienten-ID und Datum der Untersuchung, wenn Sie nichts anderes eingeben.</translation>
  </message>
  <message>
   <source>T1:</source>
   <translation>T1:</translation>
  </message>
  <message>
   <source>T1-weighted, before contrast medium.</source>
   <translation>T1-gewichtet, vor Kontrastmittel.</translation>
  </message>
  <message>
   <source>none (not available)</source>
   <translation>keines (nicht vorhanden)</translation>
  </message>
  <message>
   <source>T1 + contrast:</source>
   <translation>T1 + Kontrast:</translation>
  </message>
  <message>
   <source>T1-weighted, after contrast medium (gadolinium). The result is drawn on this image.</source>
   <translation>T1-gewichtet, nach Kontrastmittel (Gadolinium). Auf diesem Bild wird das Ergebnis gezeichnet.</translation>
  </message>
  <message>
   <source>T2:</source>
   <translation>T2:</translation>
  </message>
  <message>
   <source>T2-weighted.</source>
   <translation>T2-gewichtet.</translation>
  </message>
  <message>
   <source>FLAIR:</source>
   <translation>FLAIR:</translation>
  </message>
  <message>
   <source>T2-FLAIR, with dark fluid. Shows the whole tumour.</source>
   <translation>T2-FLAIR, mit dunkler Flüssigkeit. Zeigt den ganzen Tumor.</translation>
  </message>
  <message>
   <source>Fill in from the names</source>
   <translation>Nach den Namen ausfüllen</translation>
  </message>
  <message>
   <source>Look again which of the loaded volumes is which sequence. Volumes that you chose yourself are replaced too.</source>
   <translation>Noch einmal prüfen, welches geladene Volumen welche Sequenz ist. Auch selbst gewählte Volumen werden ersetzt.</translation>
  </message>
  <message>
   <source>Folder:</source>
   <translation>Ordner:</translation>
  </message>
  <message>
   <source>The folder of one study of one patient. Which file or series is which sequence is found from tags and names, and stands in the report.</source>
   <translation>Der Ordner einer Untersuchung eines Patienten. Welche Datei oder Serie welche Sequenz ist, wird aus Tags und Namen bestimmt und steht im Bericht.</translation>
  </message>
  <message>
   <source>Earlier study, to compare with</source>
   <translation>Frühere Untersuchung zum Vergleich</translation>
  </message>
  <message>
   <source>The T1 + contrast on which the earlier segmentation was drawn. Not needed when that is a result of GliomaSeg, whose images are known.</source>
   <translation>Das T1 + Kontrast, auf dem die frühere Segmentierung gezeichnet wurde. Nicht nötig bei einem Ergebnis von GliomaSeg, dessen Bilder bekannt sind.</translation>
  </message>
  <message>
   <source>none</source>
   <translation>keines</translation>
  </message>
  <message>
   <source>Segmentation:</source>
   <translation>Segmentierung:</translation>
  </message>
  <message>
   <source>The tumour in the earlier study: a result of GliomaSeg, or a segmentation with segments named as its own. Result, Comparison then says what became of it.</source>
   <translation>Der Tumor in der früheren Untersuchung: ein Ergebnis von GliomaSeg oder eine Segmentierung mit gleich benannten Segmenten. Unter Vergleich steht dann, was daraus geworden ist.</translation>
  </message>
  <message>
   <source>When the earlier study was made: before surgery, for the extent of resection; after it, for the response to treatment.</source>
   <translation>Wann die frühere Untersuchung war: vor der Operation für das Resektionsausmaß, danach für das Ansprechen auf die Therapie.</translation>
  </message>
  <message>
   <source>Model</source>
   <translation>Modell</translation>
  </message>
  <message>
   <source>For:</source>
   <translation>Für:</translation>
  </message>
  <message>
   <source>List the models for this task alone.</source>
   <translation>Nur Modelle für diese Aufgabe auflisten.</translation>
  </message>
  <message>
   <source>Models that suit the images come first.</source>
   <translation>Modelle, die zu den Bildern passen, stehen zuerst.</translation>
  </message>
  <message>
   <source>About</source>
   <translation>Über</translation>
  </message>
  <message>
   <source>Licence, citation, size and accuracy of this model.</source>
   <translation>Lizenz, Zitat, Größe und Genauigkeit dieses Modells.</translation>
  </message>
  <message>
   <source>Download</source>
   <translation>Herunterladen</translation>
  </message>
  <message>
   <source>Remove</source>
   <translation>Entfernen</translation>
  </message>
  <message>
   <source>Options</source>
   <translation>Optionen</translation>
  </message>
  <message>
   <source>Align images:</source>
   <translation>Bilder ausrichten:</translation>
  </message>
  <message>
   <source>How the sequences are moved onto one another. Transforms stay in the scene, where you can look at them. A volume that you placed under a linear transform yourself is taken as you placed it.</source>
   <translation>Wie die Sequenzen zur Deckung gebracht werden. Die Transformationen bleiben in der Szene, wo Sie sie ansehen können. Ein Volumen, das Sie selbst unter eine lineare Transformation gelegt haben, bleibt, wo es liegt.</translation>
  </message>
  <message>
   <source>Brain:</source>
   <translation>Gehirn:</translation>
  </message>
  <message>
   <source>How skull and scalp are taken away before the tumour is looked for. Images that are stripped already are recognised.</source>
   <translation>Wie Schädel und Kopfhaut entfernt werden, bevor der Tumor gesucht wird. Bereits extrahierte Bilder werden erkannt.</translation>
  </message>
  <message>
   <source>Compute on:</source>
   <translation>Rechnen auf:</translation>
  </message>
  <message>
   <source>Automatic takes the graphics card if there is one that can be used.</source>
   <translation>Automatisch nimmt die Grafikkarte, wenn eine benutzbar ist.</translation>
  </message>
  <message>
   <source>Threads:</source>
   <translation>Threads:</translation>
  </message>
  <message>
   <source>all cores</source>
   <translation>alle Kerne</translation>
  </message>
  <message>
   <source>Processor threads to use.</source>
   <translation>Zahl der Prozessor-Threads.</translation>
  </message>
  <message>
   <source>Models in:</source>
   <translation>Modelle in:</translation>
  </message>
  <message>
   <source>Folder of downloaded models. A hospital may share one.</source>
   <translation>Ordner der heruntergeladenen Modelle. Eine Klinik kann einen gemeinsam nutzen.</translation>
  </message>
  <message>
   <source>Results in:</source>
   <translation>Ergebnisse in:</translation>
  </message>
  <message>
   <source>Each case gets a folder of its own here: images as handed over, segmentation, measures, report.</source>
   <translation>Jeder Fall bekommt hier einen eigenen Ordner: übergebene Bilder, Segmentierung, Messwerte, Bericht.</translation>
  </message>
  <message>
   <source>Python:</source>
   <translation>Python:</translation>
  </message>
  <message>
   <source>Leave empty for Slicer's own Python. A Python environment of yours that has GliomaSeg's packages, for example with PyTorch for your graphics card, can be named instead.</source>
   <translation>Leer lassen für das Python von Slicer. Stattdessen kann eine eigene Python-Umgebung mit den Paketen von GliomaSeg genannt werden, etwa mit PyTorch für Ihre Grafikkarte.</translation>
  </message>
  <message>
   <source>Apply</source>
   <translation>Anwenden</translation>
  </message>
  <message>
   <source>Cancel</source>
   <translation>Abbrechen</translation>
  </message>
  <message>
   <source>Result</source>
   <translation>Ergebnis</translation>
  </message>
  <message>
   <source>The segmentation that is shown, corrected, reviewed and exported below.</source>
   <translation>Die Segmentierung, die gezeigt und unten korrigiert, befundet und exportiert wird.</translation>
  </message>
  <message>
   <source>none yet</source>
   <translation>noch keine</translation>
  </message>
  <message>
   <source>Show 3D</source>
   <translation>3D zeigen</translation>
  </message>
  <message>
   <source>Show the tumour's surfaces in the 3D view.</source>
   <translation>Die Oberflächen des Tumors in der 3D-Ansicht zeigen.</translation>
  </message>
  <message>
   <source>All sequences</source>
   <translation>Alle Sequenzen</translation>
  </message>
  <message>
   <source>A linked view for each sequence with the outlines of the tumour; press again for the layout before.</source>
   <translation>Eine gekoppelte Ansicht für jede Sequenz mit den Umrissen des Tumors; noch einmal drücken für das Layout davor.</translation>
  </message>
  <message>
   <source>Outlines only</source>
   <translation>Nur Umrisse</translation>
  </message>
  <message>
   <source>Brain</source>
   <translation>Gehirn</translation>
  </message>
  <message>
   <source>Show the surface of the brain around the tumour in the 3D view.</source>
   <translation>Die Oberfläche des Gehirns um den Tumor in der 3D-Ansicht zeigen.</translation>
  </message>
  <message>
   <source>Show the parts as outlines, so that the image below stays visible. Key O: hide them altogether, and show them again.</source>
   <translation>Die Teile als Umrisse zeigen, damit das Bild darunter sichtbar bleibt. Taste O: ganz ausblenden und wieder zeigen.</translation>
  </message>
  <message>
   <source>Probability</source>
   <translation>Wahrscheinlichkeit</translation>
  </message>
  <message>
   <source>Lay the probability of tumour over the images: where the colours fade, the model is not sure.</source>
   <translation>Die Tumorwahrscheinlichkeit über die Bilder legen: wo die Farben verblassen, ist das Modell unsicher.</translation>
  </message>
  <message>
   <source>How strongly the probability covers the image.</source>
   <translation>Wie stark die Wahrscheinlichkeit das Bild überdeckt.</translation>
  </message>
  <message>
   <source>Volumes as measured; brought up to date after each correction. The box shows or hides a part.</source>
   <translation>Gemessene Volumen; nach jeder Korrektur aktualisiert. Das Kästchen zeigt oder verbirgt einen Teil.</translation>
  </message>
  <message>
   <source>Volume</source>
   <translation>Volumen</translation>
  </message>
  <message>
   <source>mL</source>
   <translation>mL</translation>
  </message>
  <message>
   <source>% of brain</source>
   <translation>% des Gehirns</translation>
  </message>
  <message>
   <source>Changed since it was measured.</source>
   <translation>Seit der Messung geändert.</translation>
  </message>
  <message>
   <source>Update the measures</source>
   <translation>Messwerte aktualisieren</translation>
  </message>
  <message>
   <source>&lt;b&gt;Lesions&lt;/b&gt;</source>
   <translation>&lt;b&gt;Läsionen&lt;/b&gt;</translation>
  </message>
  <message>
   <source>Select a row: the views go to the lesion. Keys: N next, P previous. Side: and how far it lies from the midline of the brain. Certainty: the highest probability of tumour in it.</source>
   <translation>Eine Zeile wählen: die Ansichten springen zur Läsion. Tasten: N nächste, P vorige. Seite: mit dem Abstand zur Mittellinie des Gehirns. Sicherheit: die höchste Tumorwahrscheinlichkeit darin.</translation>
  </message>
  <message>
   <source>Lesion</source>
   <translation>Läsion</translation>
  </message>
  <message>
   <source>Diameters (mm)</source>
   <translation>Durchmesser (mm)</translation>
  </message>
  <message>
   <source>Side</source>
   <translation>Seite</translation>
  </message>
  <message>
   <source>Certainty</source>
   <translation>Sicherheit</translation>
  </message>
  <message>
   <source>Reviewed</source>
   <translation>Geprüft</translation>
  </message>
  <message>
   <source>Accept</source>
   <translation>Annehmen</translation>
  </message>
  <message>
   <source>Delete</source>
   <translation>Löschen</translation>
  </message>
  <message>
   <source>Undo</source>
   <translation>Rückgängig</translation>
  </message>
  <message>
   <source>Redo</source>
   <translation>Wiederholen</translation>
  </message>
  <message>
   <source>Outline of the whole tumour: how sure must the model be?</source>
   <translation>Umriss des ganzen Tumors: wie sicher muss das Modell sein?</translation>
  </message>
  <message>
   <source> %</source>
   <translation> %</translation>
  </message>
  <message>
   <source>Reset</source>
   <translation>Zurücksetzen</translation>
  </message>
  <message>
   <source>Back to the model's own outline.</source>
   <translation>Zurück zum Umriss des Modells.</translation>
  </message>
  <message>
   <source>this lesion alone</source>
   <translation>nur die gewählte Läsion</translation>
  </message>
  <message>
   <source>Move the outline of the lesion that is selected in the table, and leave the others.</source>
   <translation>Den Umriss der in der Tabelle gewählten Läsion verschieben und die anderen lassen.</translation>
  </message>
  <message>
   <source>Comparison</source>
   <translation>Vergleich</translation>
  </message>
  <message>
   <source>Compare with the earlier study</source>
   <translation>Mit der früheren Untersuchung vergleichen</translation>
  </message>
  <message>
   <source>More for the comparison</source>
   <translation>Mehr zum Vergleich</translation>
  </message>
  <message>
   <source>Study between:</source>
   <translation>Untersuchung dazwischen:</translation>
  </message>
  <message>
   <source>The tumour in a study that was made between the earlier one and this one, such as the one just after surgery: a result of GliomaSeg, or a segmentation with segments named as its own. None: two studies are compared. For more than three there is the command 'gliomaseg compare'.</source>
   <translation>Der Tumor in einer Untersuchung zwischen der früheren und dieser, etwa der gleich nach der Operation: ein Ergebnis von GliomaSeg oder eine Segmentierung mit gleich benannten Segmenten. Keine: zwei Untersuchungen werden verglichen. Für mehr als drei gibt es den Befehl 'gliomaseg compare'.</translation>
  </message>
  <message>
   <source>Its T1 + contrast:</source>
   <translation>Deren T1 + Kontrast:</translation>
  </message>
  <message>
   <source>The T1 + contrast on which the segmentation of the study between was drawn. Not needed when that is a result of GliomaSeg, whose images are known.</source>
   <translation>Das T1 + Kontrast, auf dem die Segmentierung der Untersuchung dazwischen gezeichnet wurde. Nicht nötig bei einem Ergebnis von GliomaSeg, dessen Bilder bekannt sind.</translation>
  </message>
  <message>
   <source>Response against:</source>
   <translation>Ansprechen gegenüber:</translation>
  </message>
  <message>
   <source>The baseline: the study with which the response to treatment is compared. It must have been made after surgery; RANO 2.0 takes the first one after radiotherapy.</source>
   <translation>Die Ausgangsuntersuchung, mit der das Ansprechen auf die Therapie verglichen wird. Sie muss nach der Operation gemacht sein; RANO 2.0 nimmt die erste nach der Strahlentherapie.</translation>
  </message>
  <message>
   <source>Follow lesions through a deformation of the brain (slower)</source>
   <translation>Läsionen durch eine Verformung des Gehirns verfolgen (langsamer)</translation>
  </message>
  <message>
   <source>Where the brain has sunk into the cavity, lesions come to lie beside where they were. They are then also matched after a deformation of one study onto the other (diffeomorphic demons). All volumes stay those before it.</source>
   <translation>Wo das Gehirn in die Höhle gesunken ist, liegen Läsionen neben ihrem früheren Ort. Sie werden dann auch nach einer Verformung der einen Untersuchung auf die andere zugeordnet (diffeomorphe Demons). Alle Volumen bleiben die davor.</translation>
  </message>
  <message>
   <source>A segmentation of this or of another study was changed after this comparison; compare again.</source>
   <translation>Eine Segmentierung dieser oder einer anderen Untersuchung wurde nach diesem Vergleich geändert; noch einmal vergleichen.</translation>
  </message>
  <message>
   <source>Volumes of the studies as segmented, before anything is moved, and the change since the earlier one. The tables in the scene have every lesion.</source>
   <translation>Volumen der Untersuchungen wie segmentiert, bevor etwas bewegt wird, und die Änderung seit der früheren. Die Tabellen in der Szene enthalten jede Läsion.</translation>
  </message>
  <message>
   <source>earlier, mL</source>
   <translation>früher, mL</translation>
  </message>
  <message>
   <source>between, mL</source>
   <translation>dazwischen, mL</translation>
  </message>
  <message>
   <source>now, mL</source>
   <translation>jetzt, mL</translation>
  </message>
  <message>
   <source>change</source>
   <translation>Änderung</translation>
  </message>
  <message>
   <source>Side by side</source>
   <translation>Nebeneinander</translation>
  </message>
  <message>
   <source>The earlier study, registered, beside this one in linked views with the outlines of each; press again for the layout before.</source>
   <translation>Die frühere Untersuchung, registriert, neben dieser in gekoppelten Ansichten mit den jeweiligen Umrissen; noch einmal drücken für das Layout davor.</translation>
  </message>
  <message>
   <source>Open the page</source>
   <translation>Seite öffnen</translation>
  </message>
  <message>
   <source>Show the comparison in the browser: pictures of the studies, every lesion, the criteria of response with their numbers.</source>
   <translation>Den Vergleich im Browser zeigen: Bilder der Untersuchungen, jede Läsion, die Kriterien des Ansprechens mit ihren Zahlen.</translation>
  </message>
  <message>
   <source>Growth curve</source>
   <translation>Wachstumskurve</translation>
  </message>
  <message>
   <source>Volume of all lesions together and of each of the largest, over the studies, in a plot view.</source>
   <translation>Volumen aller Läsionen zusammen und der größten einzeln über die Untersuchungen, in einer Diagrammansicht.</translation>
  </message>
  <message>
   <source>Correct</source>
   <translation>Korrigieren</translation>
  </message>
  <message>
   <source>Add</source>
   <translation>Hinzufügen</translation>
  </message>
  <message>
   <source>Click on a part of the tumour that was missed: it is added as far as the probability of tumour, or the image, tells it from its surroundings. Key, with the mouse over it: I</source>
   <translation>Auf einen übersehenen Teil des Tumors klicken: er wird hinzugefügt, soweit ihn die Tumorwahrscheinlichkeit oder das Bild von der Umgebung unterscheidet. Taste, mit der Maus darüber: I</translation>
  </message>
  <message>
   <source>What is added.</source>
   <translation>Was hinzugefügt wird.</translation>
  </message>
  <message>
   <source>Click on a part that is no tumour: it is removed with all that is connected to it. Key, with the mouse over it: X</source>
   <translation>Auf einen Teil klicken, der kein Tumor ist: er wird mit allem entfernt, was mit ihm verbunden ist. Taste, mit der Maus darüber: X</translation>
  </message>
  <message>
   <source>Open the Segment Editor</source>
   <translation>Segment Editor öffnen</translation>
  </message>
  <message>
   <source>Done: update the measures</source>
   <translation>Fertig: Messwerte aktualisieren</translation>
  </message>
  <message>
   <source>Review</source>
   <translation>Befund</translation>
  </message>
  <message>
   <source>Your name:</source>
   <translation>Ihr Name:</translation>
  </message>
  <message>
   <source>kept with your decision</source>
   <translation>wird mit Ihrer Entscheidung gespeichert</translation>
  </message>
  <message>
   <source>Kept with the decision in the scene, the manifest and the report.</source>
   <translation>Wird mit der Entscheidung in der Szene, im Manifest und im Bericht gespeichert.</translation>
  </message>
  <message>
   <source>Approve</source>
   <translation>Freigeben</translation>
  </message>
  <message>
   <source>Reject</source>
   <translation>Ablehnen</translation>
  </message>
  <message>
   <source>Take back</source>
   <translation>Zurücknehmen</translation>
  </message>
  <message>
   <source>Export</source>
   <translation>Export</translation>
  </message>
  <message>
   <source>To:</source>
   <translation>Nach:</translation>
  </message>
  <message>
   <source>A folder; the files go into a folder of the case's name inside it.</source>
   <translation>Ein Ordner; die Dateien kommen darin in einen Ordner mit dem Namen des Falls.</translation>
  </message>
  <message>
   <source>NIfTI</source>
   <translation>NIfTI</translation>
  </message>
  <message>
   <source>Label map segmentation.nii.gz: 1 necrosis, 2 edema, 3 enhancing tumour, 4 cavity.</source>
   <translation>Labelkarte segmentation.nii.gz: 1 Nekrose, 2 Ödem, 3 anreichernder Tumor, 4 Höhle.</translation>
  </message>
  <message>
   <source>seg.nrrd</source>
   <translation>seg.nrrd</translation>
  </message>
  <message>
   <source>For 3D Slicer, with names, colours and terminology.</source>
   <translation>Für 3D Slicer, mit Namen, Farben und Terminologie.</translation>
  </message>
  <message>
   <source>Report and tables</source>
   <translation>Bericht und Tabellen</translation>
  </message>
  <message>
   <source>report.html, measures.json and measures.csv.</source>
   <translation>report.html, measures.json und measures.csv.</translation>
  </message>
  <message>
   <source>DICOM:</source>
   <translation>DICOM:</translation>
  </message>
  <message>
   <source>SEG</source>
   <translation>SEG</translation>
  </message>
  <message>
   <source>DICOM Segmentation, seg.dcm: what is marked, as segments of the series.</source>
   <translation>DICOM Segmentation, seg.dcm: das Markierte als Segmente der Serie.</translation>
  </message>
  <message>
   <source>RTSTRUCT</source>
   <translation>RTSTRUCT</translation>
  </message>
  <message>
   <source>DICOM RT Structure Set, rtstruct.dcm: the outlines, for planning systems.</source>
   <translation>DICOM RT Structure Set, rtstruct.dcm: die Umrisse, für Planungssysteme.</translation>
  </message>
  <message>
   <source>SR</source>
   <translation>SR</translation>
  </message>
  <message>
   <source>DICOM Structured Report, sr.dcm: the volumes. It refers to a SEG, which is written with it.</source>
   <translation>DICOM Structured Report, sr.dcm: die Volumen. Er verweist auf ein SEG, das mit ihm geschrieben wird.</translation>
  </message>
  <message>
   <source>Pictures</source>
   <translation>Bilder</translation>
  </message>
  <message>
   <source>DICOM Secondary Capture, a folder overlay: the outlines burnt into every slice of T1 + contrast and FLAIR, for viewers that show no SEG. Not for diagnosis.</source>
   <translation>DICOM Secondary Capture, ein Ordner overlay: die Umrisse in jede Schicht von T1 + Kontrast und FLAIR eingebrannt, für Betrachter, die kein SEG zeigen. Nicht zur Diagnose.</translation>
  </message>
  <message>
   <source>Marked:</source>
   <translation>Markiert:</translation>
  </message>
  <message>
   <source>What is a segment, structure or group of measures of its own in SEG, RTSTRUCT and SR. Each lesion by itself: with its diameters, for radiosurgery.</source>
   <translation>Was in SEG, RTSTRUCT und SR ein eigenes Segment, eine Struktur oder eine Gruppe von Messwerten ist. Jede Läsion für sich: mit ihren Durchmessern, für die Radiochirurgie.</translation>
  </message>
  <message>
   <source>Numbers of the comparison</source>
   <translation>Nummern des Vergleichs</translation>
  </message>
  <message>
   <source>Every lesion is called by the number that it has in the comparison with the earlier study, and by the same Tracking UID in the export of each of these studies, so that it can be followed in the archive.</source>
   <translation>Jede Läsion heißt nach der Nummer, die sie im Vergleich mit der früheren Untersuchung hat, und trägt im Export jeder dieser Untersuchungen dieselbe Tracking UID, so dass sie sich im Archiv verfolgen lässt.</translation>
  </message>
  <message>
   <source>Series:</source>
   <translation>Serie:</translation>
  </message>
  <message>
   <source>The folder of the DICOM series on which the segmentation lies. The images that were used are no DICOM files that Slicer knows (such as NIfTI), so that they cannot be exported as DICOM without the series that they were made from.</source>
   <translation>Der Ordner der DICOM-Serie, auf der die Segmentierung liegt. Die benutzten Bilder sind keine DICOM-Dateien, die Slicer kennt (etwa NIfTI), und können ohne die Serie, aus der sie entstanden sind, nicht als DICOM exportiert werden.</translation>
  </message>
  <message>
   <source>Open the report</source>
   <translation>Bericht öffnen</translation>
  </message>
  <message>
   <source>Show report.html in the browser.</source>
   <translation>report.html im Browser zeigen.</translation>
  </message>
  <message>
   <source>Batch</source>
   <translation>Stapel</translation>
  </message>
  <message>
   <source>Studies in:</source>
   <translation>Untersuchungen in:</translation>
  </message>
  <message>
   <source>A folder that holds a folder for each study: DICOM, NIfTI or NRRD files.</source>
   <translation>Ein Ordner, der für jede Untersuchung einen Ordner enthält: DICOM-, NIfTI- oder NRRD-Dateien.</translation>
  </message>
  <message>
   <source>Each study gets a folder of its own here.</source>
   <translation>Jede Untersuchung bekommt hier einen eigenen Ordner.</translation>
  </message>
  <message>
   <source>Segment all studies</source>
   <translation>Alle Untersuchungen segmentieren</translation>
  </message>
  <message>
   <source>Double-click a study to open its result with its images.</source>
   <translation>Eine Untersuchung doppelklicken, um ihr Ergebnis mit den Bildern zu öffnen.</translation>
  </message>
  <message>
   <source>Study</source>
   <translation>Untersuchung</translation>
  </message>
  <message>
   <source>State</source>
   <translation>Stand</translation>
  </message>
  <message>
   <source>Tumour, mL</source>
   <translation>Tumor, mL</translation>
  </message>
  <message>
   <source>Whose study it is, as DICOM says; kept with the results and shown in the report, unless that is switched off under Options.</source>
   <translation>Wessen Untersuchung es ist, wie DICOM sagt; steht bei den Ergebnissen und im Bericht, wenn das unter Optionen nicht abgeschaltet ist.</translation>
  </message>
  <message>
   <source>Show whose study it is</source>
   <translation>Zeigen, wessen Untersuchung es ist</translation>
  </message>
  <message>
   <source>Show the patient's name and ID, the study's date and accession number and the numbers of series and images here and in the report, and keep them with the results. Off for research: then the case is called as you name it. DICOM objects always carry the identity of their source.</source>
   <translation>Name und ID des Patienten, Datum und Auftragsnummer der Untersuchung und die Nummern von Serien und Bildern hier und im Bericht zeigen und bei den Ergebnissen behalten. Für die Forschung aus: dann heißt der Fall, wie Sie ihn nennen. DICOM-Objekte tragen immer die Identität ihrer Quelle.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.batch</name>
  <message>
   <source>{done} of {all} studies are segmented; double-click one to open it.</source>
   <translation>{done} von {all} Untersuchungen sind segmentiert; eine doppelklicken, um sie zu öffnen.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.comparison</name>
  <message>
   <source>Compared in {seconds} s: see Comparison.</source>
   <translation>Verglichen in {seconds} s: siehe Vergleich.</translation>
  </message>
  <message>
   <source>earlier</source>
   <translation>früher</translation>
  </message>
  <message>
   <source>now</source>
   <translation>jetzt</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.dependencies</name>
  <message>
   <source> (with PyTorch up to 3 GB)</source>
   <translation> (mit PyTorch bis zu 3 GB)</translation>
  </message>
  <message>
   <source>GliomaSeg needs these Python packages, which Slicer does not have yet:

{names}

They are downloaded from the Python package index into Slicer's own Python{size}. Slicer does not react for some minutes. Install them now?</source>
   <translation>GliomaSeg braucht diese Python-Pakete, die Slicer noch nicht hat:

{names}

Sie werden vom Python Package Index in das Python von Slicer geladen{size}. Slicer reagiert einige Minuten nicht. Jetzt installieren?</translation>
  </message>
  <message>
   <source>DICOM SEG and SR cannot be written without the package; nothing was.</source>
   <translation>DICOM SEG und SR können ohne das Paket nicht geschrieben werden; es wurde nichts geschrieben.</translation>
  </message>
  <message>
   <source>GliomaSeg cannot work without its packages, and they were not installed; press Apply to be asked again.</source>
   <translation>GliomaSeg kann ohne seine Pakete nicht arbeiten, und sie wurden nicht installiert; drücken Sie Anwenden, um wieder gefragt zu werden.</translation>
  </message>
  <message>
   <source>Install packages</source>
   <translation>Pakete installieren</translation>
  </message>
  <message>
   <source>pip ended with exit status {status}</source>
   <translation>pip endete mit Status {status}</translation>
  </message>
  <message>
   <source>The packages could not be installed ({why}); check the network or proxy and try again. The Python console shows what pip said.</source>
   <translation>Die Pakete konnten nicht installiert werden ({why}); prüfen Sie Netz oder Proxy und versuchen Sie es noch einmal. Die Python-Konsole zeigt, was pip meldet.</translation>
  </message>
  <message>
   <source>The packages are installed. Restart Slicer, then press Apply again.</source>
   <translation>Die Pakete sind installiert. Starten Sie Slicer neu und drücken Sie dann noch einmal Anwenden.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.export</name>
  <message>
   <source>{folder} is there already. Replace the files in it?</source>
   <translation>{folder} gibt es schon. Die Dateien darin ersetzen?</translation>
  </message>
  <message>
   <source>Export</source>
   <translation>Export</translation>
  </message>
  <message>
   <source>Written to {folder}: {names}. Not a medical device.</source>
   <translation>Nach {folder} geschrieben: {names}. Kein Medizinprodukt.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.files</name>
  <message>
   <source>{name} could not be written to {folder} ({why}); choose another folder.</source>
   <translation>{name} konnte nicht nach {folder} geschrieben werden ({why}); wählen Sie einen anderen Ordner.</translation>
  </message>
  <message>
   <source>The result</source>
   <translation>Das Ergebnis</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.images</name>
  <message>
   <source>No loaded volume has a name that tells its sequence; choose them yourself.</source>
   <translation>Kein geladenes Volumen hat einen Namen, der seine Sequenz nennt; wählen Sie selbst.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.model</name>
  <message>
   <source>Install from a folder …</source>
   <translation>Aus einem Ordner installieren …</translation>
  </message>
  <message>
   <source>Install from a file …</source>
   <translation>Aus einer Datei installieren …</translation>
  </message>
  <message>
   <source>all tasks</source>
   <translation>alle Aufgaben</translation>
  </message>
  <message>
   <source>{title} is on this computer now.</source>
   <translation>{title} ist jetzt auf diesem Rechner.</translation>
  </message>
  <message>
   <source>{title} could not be downloaded; this computer may be offline. The arrow beside Download installs it from a folder or a file.</source>
   <translation>{title} konnte nicht heruntergeladen werden; vielleicht ist dieser Rechner offline. Der Pfeil neben Herunterladen installiert es aus einem Ordner oder einer Datei.</translation>
  </message>
  <message>
   <source>Not suited: {model}</source>
   <translation>Nicht geeignet: {model}</translation>
  </message>
  <message>
   <source>Delete {title} ({size}) from {folder}?</source>
   <translation>{title} ({size}) aus {folder} löschen?</translation>
  </message>
  <message>
   <source>Remove a model</source>
   <translation>Ein Modell entfernen</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.parameters</name>
  <message>
   <source>loaded volumes</source>
   <translation>geladene Volumen</translation>
  </message>
  <message>
   <source>a study folder</source>
   <translation>ein Untersuchungsordner</translation>
  </message>
  <message>
   <source>with Slicer's BRAINSFit if it is there</source>
   <translation>mit BRAINSFit von Slicer, wenn es da ist</translation>
  </message>
  <message>
   <source>with GliomaSeg's own registration</source>
   <translation>mit der Registrierung von GliomaSeg</translation>
  </message>
  <message>
   <source>no: they lie in place</source>
   <translation>nein: sie liegen richtig</translation>
  </message>
  <message>
   <source>found by deepbet</source>
   <translation>mit deepbet gefunden</translation>
  </message>
  <message>
   <source>found by HD-BET (slower, must be installed)</source>
   <translation>mit HD-BET gefunden (langsamer, muss installiert sein)</translation>
  </message>
  <message>
   <source>the images show nothing else</source>
   <translation>die Bilder zeigen nichts anderes</translation>
  </message>
  <message>
   <source>the first after surgery</source>
   <translation>die erste nach der Operation</translation>
  </message>
  <message>
   <source>the earlier study</source>
   <translation>die frühere Untersuchung</translation>
  </message>
  <message>
   <source>the study between</source>
   <translation>die Untersuchung dazwischen</translation>
  </message>
  <message>
   <source>whole tumour, core, enhancing tumour</source>
   <translation>ganzer Tumor, Kern, anreichernder Tumor</translation>
  </message>
  <message>
   <source>edema, necrosis, enhancing tumour</source>
   <translation>Ödem, Nekrose, anreichernder Tumor</translation>
  </message>
  <message>
   <source>each lesion by itself</source>
   <translation>jede Läsion für sich</translation>
  </message>
  <message>
   <source>automatic</source>
   <translation>automatisch</translation>
  </message>
  <message>
   <source>processor</source>
   <translation>Prozessor</translation>
  </message>
  <message>
   <source>NVIDIA graphics card</source>
   <translation>NVIDIA-Grafikkarte</translation>
  </message>
  <message>
   <source>Apple graphics</source>
   <translation>Apple-Grafik</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.result</name>
  <message>
   <source>The lesion is right as it is; kept with the scene. Key: A</source>
   <translation>Die Läsion ist richtig, wie sie ist; mit der Szene gespeichert. Taste: A</translation>
  </message>
  <message>
   <source>Take the lesion out of the segmentation. Key: Delete</source>
   <translation>Die Läsion aus der Segmentierung nehmen. Taste: Entf</translation>
  </message>
  <message>
   <source>Not accepted</source>
   <translation>Nicht angenommen</translation>
  </message>
  <message>
   <source>Accept</source>
   <translation>Annehmen</translation>
  </message>
  <message>
   <source>Measures, report and files follow the segmentation.</source>
   <translation>Messwerte, Bericht und Dateien entsprechen der Segmentierung.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.review</name>
  <message>
   <source>Kept in the scene, the manifest and the report.</source>
   <translation>In der Szene, im Manifest und im Bericht gespeichert.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.run</name>
  <message>
   <source>Stopping</source>
   <translation>Wird angehalten</translation>
  </message>
  <message>
   <source>{stage} … {seconds} s</source>
   <translation>{stage} … {seconds} s</translation>
  </message>
  <message>
   <source>{title} is not on this computer yet. Download it ({size}) now?</source>
   <translation>{title} ist noch nicht auf diesem Rechner. Jetzt herunterladen ({size})?</translation>
  </message>
  <message>
   <source>Download the model</source>
   <translation>Das Modell herunterladen</translation>
  </message>
  <message>
   <source>Nothing was segmented, because the model is not on this computer.</source>
   <translation>Es wurde nichts segmentiert, weil das Modell nicht auf diesem Rechner ist.</translation>
  </message>
  <message>
   <source>Done in {seconds} s.</source>
   <translation>Fertig in {seconds} s.</translation>
  </message>
  <message>
   <source>Look at every contour.</source>
   <translation>Sehen Sie jede Kontur an.</translation>
  </message>
  <message>
   <source>No tumour was found.</source>
   <translation>Es wurde kein Tumor gefunden.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.runner</name>
  <message>
   <source>GliomaSeg failed unexpectedly ({error}); the error log tells more.</source>
   <translation>GliomaSeg ist unerwartet gescheitert ({error}); das Fehlerprotokoll sagt mehr.</translation>
  </message>
 </context>
 <context>
  <name>GliomaSegPanel.sample_data</name>
  <message>
   <source>The phantom could not be made.</source>
   <translation>Das Phantom konnte nicht erzeugt werden.</translation>
  </message>
 </context>
 <context>
  <name>decisions.batch</name>
  <message>
   <source>Finish what is under way first.</source>
   <translation>Beenden Sie erst, was im Gange ist.</translation>
  </message>
  <message>
   <source>Choose a folder that holds a folder for each study.</source>
   <translation>Wählen Sie einen Ordner, der für jede Untersuchung einen Ordner enthält.</translation>
  </message>
  <message>
   <source>Choose a folder for the results.</source>
   <translation>Wählen Sie einen Ordner für die Ergebnisse.</translation>
  </message>
  <message>
   <source>Choose a model that is on this computer.</source>
   <translation>Wählen Sie ein Modell, das auf diesem Rechner ist.</translation>
  </message>
  <message>
   <source>Segment {count} studies with {model}, one after the other. What is done already is not done again.</source>
   <translation>{count} Untersuchungen mit {model} segmentieren, eine nach der anderen. Was schon fertig ist, wird nicht noch einmal gemacht.</translation>
  </message>
  <message>
   <source>done</source>
   <translation>fertig</translation>
  </message>
  <message>
   <source>running</source>
   <translation>läuft</translation>
  </message>
  <message>
   <source>waiting</source>
   <translation>wartet</translation>
  </message>
 </context>
 <context>
  <name>decisions.comparison</name>
  <message>
   <source>This result is of a study before surgery; show that of the later study.</source>
   <translation>Dieses Ergebnis ist von einer Untersuchung vor der Operation; zeigen Sie das der späteren.</translation>
  </message>
  <message>
   <source>Say first that the study was made after surgery (Images, Made).</source>
   <translation>Sagen Sie erst, dass die Untersuchung nach der Operation war (Bilder, Aufgenommen).</translation>
  </message>
  <message>
   <source>Update the measures first, so that what you see is compared.</source>
   <translation>Aktualisieren Sie erst die Messwerte, damit verglichen wird, was Sie sehen.</translation>
  </message>
  <message>
   <source>Choose the segmentation of the earlier study (Images); if there is none, segment that study first.</source>
   <translation>Wählen Sie die Segmentierung der früheren Untersuchung (Bilder); gibt es keine, segmentieren Sie diese zuerst.</translation>
  </message>
  <message>
   <source>The earlier segmentation is the one that is shown; choose that of the other study.</source>
   <translation>Die frühere Segmentierung ist die gezeigte; wählen Sie die der anderen Untersuchung.</translation>
  </message>
  <message>
   <source>Choose the T1 + contrast of the earlier study too: by it the studies are registered.</source>
   <translation>Wählen Sie auch das T1 + Kontrast der früheren Untersuchung: damit werden die Untersuchungen registriert.</translation>
  </message>
  <message>
   <source>Register the studies to each other and say what became of the tumour: residual, lesions, response.</source>
   <translation>Die Untersuchungen aufeinander registrieren und sagen, was aus dem Tumor geworden ist: Rest, Läsionen, Ansprechen.</translation>
  </message>
  <message>
   <source>The study between is one of the other two; choose the segmentation of a third study, or none.</source>
   <translation>Die Untersuchung dazwischen ist eine der anderen beiden; wählen Sie die Segmentierung einer dritten oder keine.</translation>
  </message>
  <message>
   <source>Choose the T1 + contrast of the study between too: by it the studies are registered.</source>
   <translation>Wählen Sie auch das T1 + Kontrast der Untersuchung dazwischen: damit werden die Untersuchungen registriert.</translation>
  </message>
  <message>
   <source>Response is to be compared with the study between; choose that, or another baseline.</source>
   <translation>Das Ansprechen soll mit der Untersuchung dazwischen verglichen werden; wählen Sie diese oder eine andere Ausgangsuntersuchung.</translation>
  </message>
  <message>
   <source>Response cannot be compared with a study before surgery; choose another baseline.</source>
   <translation>Das Ansprechen lässt sich nicht mit einer Untersuchung vor der Operation vergleichen; wählen Sie eine andere Ausgangsuntersuchung.</translation>
  </message>
  <message>
   <source>new</source>
   <translation>neu</translation>
  </message>
 </context>
 <context>
  <name>decisions.export</name>
  <message>
   <source>The images are no DICOM files that Slicer knows (such as NIfTI), so that the result cannot be exported as DICOM; only if they were made from a DICOM series, name its folder.</source>
   <translation>Die Bilder sind keine DICOM-Dateien, die Slicer kennt (etwa NIfTI), so dass das Ergebnis nicht als DICOM exportiert werden kann; nur wenn sie aus einer DICOM-Serie entstanden sind, nennen Sie deren Ordner.</translation>
  </message>
  <message>
   <source>Compare the result with an earlier study first: there its lesions get their numbers.</source>
   <translation>Vergleichen Sie das Ergebnis erst mit einer früheren Untersuchung: dort bekommen die Läsionen ihre Nummern.</translation>
  </message>
  <message>
   <source>Update the measures first, so that the files hold what you see.</source>
   <translation>Aktualisieren Sie erst die Messwerte, damit die Dateien enthalten, was Sie sehen.</translation>
  </message>
  <message>
   <source>Choose at least one kind of file.</source>
   <translation>Wählen Sie mindestens eine Art von Datei.</translation>
  </message>
  <message>
   <source>Choose a folder to write to.</source>
   <translation>Wählen Sie einen Ordner, in den geschrieben wird.</translation>
  </message>
  <message>
   <source>The result was rejected, so it is not written as DICOM; correct it or review it again.</source>
   <translation>Das Ergebnis wurde abgelehnt und wird darum nicht als DICOM geschrieben; korrigieren oder befunden Sie es neu.</translation>
  </message>
  <message>
   <source>The comparison is out of date: compare again, or export without the numbers of the comparison.</source>
   <translation>Der Vergleich ist veraltet: vergleichen Sie noch einmal oder exportieren Sie ohne die Nummern des Vergleichs.</translation>
  </message>
  <message>
   <source>Write the chosen files to {folder}.</source>
   <translation>Die gewählten Dateien nach {folder} schreiben.</translation>
  </message>
 </context>
 <context>
  <name>decisions.images</name>
  <message>
   <source>{count} volumes may be {sequence}: {names}; choose one.</source>
   <translation>{count} Volumen können {sequence} sein: {names}; wählen Sie eines.</translation>
  </message>
  <message>
   <source>{count} volumes may be {sequence}: {names}; '{chosen}' is chosen, choose another one if it is wrong.</source>
   <translation>{count} Volumen können {sequence} sein: {names}; '{chosen}' ist gewählt, wählen Sie ein anderes, wenn das falsch ist.</translation>
  </message>
  <message>
   <source>Filled in: {reason} ({percent} % sure). Choose another volume if this is wrong.</source>
   <translation>Ausgefüllt: {reason} ({percent} % sicher). Wählen Sie ein anderes Volumen, wenn das falsch ist.</translation>
  </message>
  <message>
   <source>{one} and {other} seem to be swapped: '{name}' is chosen as {one}, '{second}' as {other}.</source>
   <translation>{one} und {other} scheinen vertauscht: '{name}' ist als {one} gewählt, '{second}' als {other}.</translation>
  </message>
  <message>
   <source>'{name}' is chosen as {sequence}, but by its name it is no such image ({reason}); check it.</source>
   <translation>'{name}' ist als {sequence} gewählt, ist nach seinem Namen aber kein solches Bild ({reason}); prüfen Sie es.</translation>
  </message>
  <message>
   <source>'{name}' is chosen as {sequence}, but by its name it is {other} ({reason}); check it.</source>
   <translation>'{name}' ist als {sequence} gewählt, ist nach seinem Namen aber {other} ({reason}); prüfen Sie es.</translation>
  </message>
  <message>
   <source>'{one}' and '{other}' are named {names}; check that both are of one patient and examination.</source>
   <translation>'{one}' und '{other}' heißen {names}; prüfen Sie, dass beide von einem Patienten und einer Untersuchung sind.</translation>
  </message>
  <message>
   <source>{one} and {other} are the same volume; set one of them to another volume or to none.</source>
   <translation>{one} und {other} sind dasselbe Volumen; setzen Sie eines auf ein anderes oder auf keines.</translation>
  </message>
  <message>
   <source>Series {number}: {description}, {count} images</source>
   <translation>Serie {number}: {description}, {count} Bilder</translation>
  </message>
  <message>
   <source>{description}, {count} images</source>
   <translation>{description}, {count} Bilder</translation>
  </message>
 </context>
 <context>
  <name>decisions.model_page</name>
  <message>
   <source>needed: {names}</source>
   <translation>nötig: {names}</translation>
  </message>
  <message>
   <source>For</source>
   <translation>Für</translation>
  </message>
  <message>
   <source>Sequences</source>
   <translation>Sequenzen</translation>
  </message>
  <message>
   <source>Gives</source>
   <translation>Ergibt</translation>
  </message>
  <message>
   <source>Size</source>
   <translation>Größe</translation>
  </message>
  <message>
   <source>Licence</source>
   <translation>Lizenz</translation>
  </message>
  <message>
   <source>Weights</source>
   <translation>Gewichte</translation>
  </message>
  <message>
   <source>Please cite</source>
   <translation>Bitte zitieren</translation>
  </message>
  <message>
   <source>Tested</source>
   <translation>Geprüft</translation>
  </message>
  <message>
   <source>Version</source>
   <translation>Version</translation>
  </message>
  <message>
   <source>Trained</source>
   <translation>Trainiert</translation>
  </message>
  <message>
   <source>Without {name}</source>
   <translation>Ohne {name}</translation>
  </message>
  <message>
   <source>{regions} only</source>
   <translation>nur {regions}</translation>
  </message>
  <message>
   <source>comes with GliomaSeg</source>
   <translation>kommt mit GliomaSeg</translation>
  </message>
  <message>
   <source>on this computer</source>
   <translation>auf diesem Rechner</translation>
  </message>
  <message>
   <source>to be downloaded</source>
   <translation>herunterzuladen</translation>
  </message>
  <message>
   <source>With</source>
   <translation>Mit</translation>
  </message>
  <message>
   <source>Published accuracy (mean Dice)</source>
   <translation>Veröffentlichte Genauigkeit (mittlerer Dice)</translation>
  </message>
  <message>
   <source>Measured accuracy (mean Dice)</source>
   <translation>Gemessene Genauigkeit (mittlerer Dice)</translation>
  </message>
  <message>
   <source>{count} cases of {data}</source>
   <translation>{count} Fälle von {data}</translation>
  </message>
 </context>
 <context>
  <name>decisions.models</name>
  <message>
   <source>, not tested yet</source>
   <translation>, noch nicht geprüft</translation>
  </message>
  <message>
   <source>, a demonstration</source>
   <translation>, zur Demonstration</translation>
  </message>
  <message>
   <source> (its members are not installed)</source>
   <translation> (seine Teile sind nicht installiert)</translation>
  </message>
  <message>
   <source> (download: {size})</source>
   <translation> (Download: {size})</translation>
  </message>
  <message>
   <source> or </source>
   <translation> oder </translation>
  </message>
  <message>
   <source>This model is made for studies {meant}; this one was made {time}.</source>
   <translation>Dieses Modell ist für Untersuchungen {meant} gemacht; diese ist {time}.</translation>
  </message>
  <message>
   <source>{reason} Its result may be wrong. Use it all the same?</source>
   <translation>{reason} Sein Ergebnis kann falsch sein. Trotzdem benutzen?</translation>
  </message>
  <message>
   <source>Choose a model first.</source>
   <translation>Wählen Sie erst ein Modell.</translation>
  </message>
  <message>
   <source>The model is on this computer already.</source>
   <translation>Das Modell ist schon auf diesem Rechner.</translation>
  </message>
  <message>
   <source>Wait until the running work has ended.</source>
   <translation>Warten Sie, bis die laufende Arbeit beendet ist.</translation>
  </message>
  <message>
   <source>Download it ({size}), check it and keep it on this computer. The arrow: install it without a network.</source>
   <translation>Herunterladen ({size}), prüfen und auf diesem Rechner behalten. Der Pfeil: ohne Netz installieren.</translation>
  </message>
  <message>
   <source>The model is not on this computer.</source>
   <translation>Das Modell ist nicht auf diesem Rechner.</translation>
  </message>
  <message>
   <source>The model comes with GliomaSeg, and goes with it.</source>
   <translation>Das Modell kommt und geht mit GliomaSeg.</translation>
  </message>
  <message>
   <source>The model is provided by your site, and is not yours to delete.</source>
   <translation>Das Modell stellt Ihr Haus bereit; Sie können es nicht löschen.</translation>
  </message>
  <message>
   <source>Delete the model's files from this computer; they can be downloaded again.</source>
   <translation>Die Dateien des Modells von diesem Rechner löschen; sie können wieder heruntergeladen werden.</translation>
  </message>
 </context>
 <context>
  <name>decisions.progress</name>
  <message>
   <source>Handing over the images</source>
   <translation>Bilder werden übergeben</translation>
  </message>
  <message>
   <source>Reading the images</source>
   <translation>Bilder werden gelesen</translation>
  </message>
  <message>
   <source>Aligning the images</source>
   <translation>Bilder werden ausgerichtet</translation>
  </message>
  <message>
   <source>Finding the brain</source>
   <translation>Gehirn wird gesucht</translation>
  </message>
  <message>
   <source>Segmenting the tumour</source>
   <translation>Tumor wird segmentiert</translation>
  </message>
  <message>
   <source>Measuring and writing the report</source>
   <translation>Messen und Bericht schreiben</translation>
  </message>
  <message>
   <source>Loading the result</source>
   <translation>Ergebnis wird geladen</translation>
  </message>
  <message>
   <source>Installing the model</source>
   <translation>Modell wird installiert</translation>
  </message>
  <message>
   <source>Starting</source>
   <translation>Start</translation>
  </message>
  <message>
   <source>Measuring</source>
   <translation>Messung</translation>
  </message>
  <message>
   <source>Keeping the review</source>
   <translation>Befund wird gespeichert</translation>
  </message>
  <message>
   <source>Comparing the studies</source>
   <translation>Untersuchungen werden verglichen</translation>
  </message>
  <message>
   <source>Finding the deformation</source>
   <translation>Verformung wird gesucht</translation>
  </message>
  <message>
   <source>Following the lesions</source>
   <translation>Läsionen werden verfolgt</translation>
  </message>
  <message>
   <source>Writing DICOM</source>
   <translation>DICOM wird geschrieben</translation>
  </message>
  <message>
   <source>Segmenting the studies</source>
   <translation>Untersuchungen werden segmentiert</translation>
  </message>
  <message>
   <source>Opening the result</source>
   <translation>Ergebnis wird geöffnet</translation>
  </message>
 </context>
 <context>
  <name>decisions.readiness</name>
  <message>
   <source>ready</source>
   <translation>bereit</translation>
  </message>
  <message>
   <source>choose the study's folder</source>
   <translation>Ordner der Untersuchung wählen</translation>
  </message>
  <message>
   <source>no images yet</source>
   <translation>noch keine Bilder</translation>
  </message>
  <message>
   <source>1 sequence</source>
   <translation>1 Sequenz</translation>
  </message>
  <message>
   <source>{count} sequences</source>
   <translation>{count} Sequenzen</translation>
  </message>
  <message>
   <source>check the names</source>
   <translation>Namen prüfen</translation>
  </message>
  <message>
   <source>names agree</source>
   <translation>Namen stimmen</translation>
  </message>
  <message>
   <source>call the case '{name}'?</source>
   <translation>Fall „{name}“ nennen?</translation>
  </message>
  <message>
   <source>made {before} or {after}?</source>
   <translation>aufgenommen {before} oder {after}?</translation>
  </message>
  <message>
   <source>choose a model</source>
   <translation>ein Modell wählen</translation>
  </message>
  <message>
   <source>{model} (download: {size})</source>
   <translation>{model} (Download: {size})</translation>
  </message>
  <message>
   <source>{model} for {tumour}</source>
   <translation>{model} für {tumour}</translation>
  </message>
  <message>
   <source>{model} is not suited</source>
   <translation>{model} ist nicht geeignet</translation>
  </message>
  <message>
   <source>{model} would do better (download: {size})</source>
   <translation>{model} wäre besser (Download: {size})</translation>
  </message>
 </context>
 <context>
  <name>decisions.result</name>
  <message>
   <source>accepted</source>
   <translation>angenommen</translation>
  </message>
  <message>
   <source>There is no result yet.</source>
   <translation>Es gibt noch kein Ergebnis.</translation>
  </message>
  <message>
   <source>The model gives no probability map for this result.</source>
   <translation>Das Modell liefert für dieses Ergebnis keine Wahrscheinlichkeitskarte.</translation>
  </message>
  <message>
   <source>Finish what is under way first.</source>
   <translation>Beenden Sie erst, was im Gange ist.</translation>
  </message>
  <message>
   <source>Lower: the outline grows. Higher: it shrinks. Voxels that are gained become edema.</source>
   <translation>Niedriger: der Umriss wächst. Höher: er schrumpft. Hinzukommende Voxel werden Ödem.</translation>
  </message>
  <message>
   <source>Select a lesion in the table.</source>
   <translation>Wählen Sie eine Läsion in der Tabelle.</translation>
  </message>
  <message>
   <source>Take back the last change. Key: Z</source>
   <translation>Die letzte Änderung zurücknehmen. Taste: Z</translation>
  </message>
  <message>
   <source>There is nothing to take back.</source>
   <translation>Es gibt nichts zurückzunehmen.</translation>
  </message>
  <message>
   <source>Make the change again. Key: Y</source>
   <translation>Die Änderung noch einmal machen. Taste: Y</translation>
  </message>
  <message>
   <source>Nothing was taken back.</source>
   <translation>Es wurde nichts zurückgenommen.</translation>
  </message>
  <message>
   <source>Press Add or Remove, then click in a slice view; or point there and press I or X.</source>
   <translation>Drücken Sie Hinzufügen oder Entfernen und klicken Sie in eine Schichtansicht; oder zeigen Sie dorthin und drücken I oder X.</translation>
  </message>
  <message>
   <source>Wait until the running work has ended.</source>
   <translation>Warten Sie, bis die laufende Arbeit beendet ist.</translation>
  </message>
  <message>
   <source>Correct the segmentation by hand with the Segment Editor's tools.</source>
   <translation>Die Segmentierung von Hand mit den Werkzeugen des Segment Editors korrigieren.</translation>
  </message>
  <message>
   <source>Close the editor; nothing is measured. {reason}</source>
   <translation>Den Editor schließen; es wird nichts gemessen. {reason}</translation>
  </message>
  <message>
   <source>Measure what the segmentation is now, and write table, report and files anew.</source>
   <translation>Messen, was die Segmentierung jetzt ist, und Tabelle, Bericht und Dateien neu schreiben.</translation>
  </message>
  <message>
   <source>measured on image {number}</source>
   <translation>gemessen auf Bild {number}</translation>
  </message>
 </context>
 <context>
  <name>decisions.review</name>
  <message>
   <source>Draft: nobody has reviewed it</source>
   <translation>Entwurf: von niemandem geprüft</translation>
  </message>
  <message>
   <source>Edited: not approved</source>
   <translation>Bearbeitet: nicht freigegeben</translation>
  </message>
  <message>
   <source>Approved</source>
   <translation>Freigegeben</translation>
  </message>
  <message>
   <source>Rejected</source>
   <translation>Abgelehnt</translation>
  </message>
  <message>
   <source> by {name}</source>
   <translation> von {name}</translation>
  </message>
  <message>
   <source>, {when}</source>
   <translation>, {when}</translation>
  </message>
  <message>
   <source>That is its state already.</source>
   <translation>Das ist schon sein Stand.</translation>
  </message>
  <message>
   <source>Take the decision back.</source>
   <translation>Die Entscheidung zurücknehmen.</translation>
  </message>
  <message>
   <source>Enter your name first.</source>
   <translation>Geben Sie erst Ihren Namen ein.</translation>
  </message>
  <message>
   <source>Update the measures first, so that what you approve is what was measured.</source>
   <translation>Aktualisieren Sie erst die Messwerte, damit Sie freigeben, was gemessen wurde.</translation>
  </message>
  <message>
   <source>You have looked at every contour and find it right. A later edit voids this.</source>
   <translation>Sie haben jede Kontur angesehen und finden sie richtig. Eine spätere Bearbeitung hebt das auf.</translation>
  </message>
  <message>
   <source>It is not to be used.</source>
   <translation>Es soll nicht benutzt werden.</translation>
  </message>
 </context>
 <context>
  <name>decisions.run</name>
  <message>
   <source>Wait until the running work has ended, or cancel it.</source>
   <translation>Warten Sie, bis die laufende Arbeit beendet ist, oder brechen Sie sie ab.</translation>
  </message>
  <message>
   <source>Choose the folder of the study: DICOM, NIfTI or NRRD.</source>
   <translation>Wählen Sie den Ordner der Untersuchung: DICOM, NIfTI oder NRRD.</translation>
  </message>
  <message>
   <source>Load the patient's MRI and choose at least one sequence.</source>
   <translation>Laden Sie die MRT des Patienten und wählen Sie mindestens eine Sequenz.</translation>
  </message>
  <message>
   <source>Choose a model.</source>
   <translation>Wählen Sie ein Modell.</translation>
  </message>
  <message>
   <source>Finish correcting the segmentation first.</source>
   <translation>Beenden Sie erst die Korrektur der Segmentierung.</translation>
  </message>
  <message>
   <source>Segment the tumour. This takes from seconds to minutes; Slicer can be used meanwhile.</source>
   <translation>Den Tumor segmentieren. Das dauert Sekunden bis Minuten; Slicer bleibt benutzbar.</translation>
  </message>
  <message>
   <source>Nothing is running.</source>
   <translation>Es läuft nichts.</translation>
  </message>
  <message>
   <source>Stop. Nothing half-made is left.</source>
   <translation>Anhalten. Nichts Halbfertiges bleibt zurück.</translation>
  </message>
 </context>
 <context>
  <name>decisions.situation</name>
  <message>
   <source>This model also looks at the study before surgery; choose it under Earlier study, or another model.</source>
   <translation>Dieses Modell sieht auch die Untersuchung vor der Operation an; wählen Sie sie unter Frühere Untersuchung, oder ein anderes Modell.</translation>
  </message>
  <message>
   <source>There is no result yet.</source>
   <translation>Es gibt noch kein Ergebnis.</translation>
  </message>
  <message>
   <source>Finish what is under way first.</source>
   <translation>Beenden Sie erst, was im Gange ist.</translation>
  </message>
  <message>
   <source>This segmentation was not made by GliomaSeg.</source>
   <translation>Diese Segmentierung wurde nicht von GliomaSeg gemacht.</translation>
  </message>
  <message>
   <source>The files of this result are neither in {folder} nor in the scene; run the case again.</source>
   <translation>Die Dateien dieses Ergebnisses sind weder in {folder} noch in der Szene; rechnen Sie den Fall noch einmal.</translation>
  </message>
  <message>
   <source>First asks to install what GliomaSeg needs: {names}.</source>
   <translation>Fragt zuerst, ob installiert werden soll, was GliomaSeg braucht: {names}.</translation>
  </message>
  <message>
   <source> and {count} more</source>
   <translation> und {count} weitere</translation>
  </message>
 </context>
 <context>
  <name>decisions.titles</name>
  <message>
   <source>glioma before surgery</source>
   <translation>Gliom vor der Operation</translation>
  </message>
  <message>
   <source>glioma after surgery</source>
   <translation>Gliom nach der Operation</translation>
  </message>
  <message>
   <source>glioma of children</source>
   <translation>Gliom bei Kindern</translation>
  </message>
  <message>
   <source>metastases</source>
   <translation>Metastasen</translation>
  </message>
  <message>
   <source>meningioma</source>
   <translation>Meningeom</translation>
  </message>
  <message>
   <source>vestibular schwannoma</source>
   <translation>Vestibularisschwannom</translation>
  </message>
  <message>
   <source>resection cavity</source>
   <translation>Resektionshöhle</translation>
  </message>
  <message>
   <source>not said</source>
   <translation>nicht angegeben</translation>
  </message>
  <message>
   <source>before surgery</source>
   <translation>vor der Operation</translation>
  </message>
  <message>
   <source>after surgery</source>
   <translation>nach der Operation</translation>
  </message>
  <message>
   <source>on real images with the real weights</source>
   <translation>auf echten Bildern mit den echten Gewichten</translation>
  </message>
  <message>
   <source>equal to its own package on generated weights</source>
   <translation>gleich seinem eigenen Paket auf erzeugten Gewichten</translation>
  </message>
  <message>
   <source>not yet</source>
   <translation>noch nicht</translation>
  </message>
  <message>
   <source>a demonstration, trained on too little to be of use</source>
   <translation>eine Demonstration, zu wenig trainiert, um zu nützen</translation>
  </message>
  <message>
   <source>Whole tumour</source>
   <translation>Ganzer Tumor</translation>
  </message>
  <message>
   <source>Tumour core</source>
   <translation>Tumorkern</translation>
  </message>
  <message>
   <source>Enhancing tumour</source>
   <translation>Anreichernder Tumor</translation>
  </message>
  <message>
   <source>Resection cavity</source>
   <translation>Resektionshöhle</translation>
  </message>
  <message>
   <source>Necrosis / non-enhancing core</source>
   <translation>Nekrose / nicht anreichernder Kern</translation>
  </message>
  <message>
   <source>Edema / infiltration</source>
   <translation>Ödem / Infiltration</translation>
  </message>
  <message>
   <source>left</source>
   <translation>links</translation>
  </message>
  <message>
   <source>right</source>
   <translation>rechts</translation>
  </message>
  <message>
   <source>midline</source>
   <translation>Mittellinie</translation>
  </message>
  <message>
   <source>unknown size</source>
   <translation>unbekannte Größe</translation>
  </message>
  <message>
   <source>patient {value}</source>
   <translation>Patient {value}</translation>
  </message>
  <message>
   <source>study of {value}</source>
   <translation>Untersuchung vom {value}</translation>
  </message>
  <message>
   <source>accession {value}</source>
   <translation>Auftrag {value}</translation>
  </message>
 </context>
 <context>
  <name>qSlicerAbstractCoreModule</name>
  <message>
   <source>Segmentation</source>
   <translation>Segmentierung</translation>
  </message>
 </context>
</TS>
